"""A prompt with any number of responses and, if there are any, scores."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score
from prefine.data.detect import Columns
from prefine.data.messages import Dropped
from prefine.registry import formats
from prefine.schema import Group


@formats.register("listwise")
class Listwise:
    """A prompt, its responses and their scores; higher is better.

    Columns: prompt (text or messages), responses (list), scores (list of numbers) or several lists `scores_NAME`.
    """

    rank = 16
    tells = "groups"
    columns = ("prompt", "responses", "scores")

    def matches(self, table: Columns) -> bool:
        return table.has("prompt", "text", "messages") and table.has("responses", "texts", "lists", "messages", "empty")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        named = {k: v for k, v in row.items() if (k == "scores" or k.startswith("scores_")) and v not in (None, [])}
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        responses = row.get("responses")
        if not isinstance(responses, (list, tuple)):
            raise Dropped("bad_type_responses", type(responses).__name__)
        for name, values in named.items():
            if not isinstance(values, (list, tuple)) or len(values) != len(responses):
                raise Dropped("scores_do_not_fit_responses", name)
        for i, response in enumerate(responses):
            try:
                completion = source.response(response, "responses")
            except Dropped as dropped:
                source.notes[f"responses_dropped_{dropped.reason}"] += 1
                continue
            candidate = source.candidate(group, completion)
            for name, values in named.items():
                add_score(
                    candidate, name.removeprefix("scores_") if name != "scores" else "score", values[i], source.notes
                )
        if not group.candidates:
            raise Dropped("no_candidates")
        return group
