"""A prompt with any number of responses and, if there are any, scores."""

from __future__ import annotations

from typing import Any, ClassVar

from prefine.data.build import Source, add_score, answered
from prefine.data.detect import Columns
from prefine.data.messages import Dropped
from prefine.registry import formats
from prefine.schema import Group


@formats.register("listwise")
class Listwise:
    """A prompt, its responses and their scores; higher is better.

    Columns: prompt (text or messages), responses (list), scores (list of numbers) or several lists `scores_NAME`;
    models and response_ids (lists of text) if there are any.
    """

    rank = 160
    tells = "groups"
    columns = ("prompt", "responses", "scores", "models", "response_ids", "group_id", "split")
    kinds: ClassVar[dict[str, str]] = {}
    """The kinds of scores by their names; others are plain metrics."""

    def matches(self, table: Columns) -> bool:
        return table.has("prompt", "text", "messages") and table.has("responses", "texts", "lists", "messages", "empty")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        responses = row.get("responses")
        if not isinstance(responses, (list, tuple)):
            raise Dropped("bad_type_responses", type(responses).__name__)
        lists = _score_lists(row, len(responses))
        models, ids = _texts(row, "models", len(responses)), _texts(row, "response_ids", len(responses))
        for i, response in enumerate(responses):
            made = source.one_of_many(group, response, "responses", models[i], stored_id=ids[i])
            if made is None:
                continue
            for scorer, values in lists.items():
                add_score(made, scorer, values[i], source.notes, self.kinds.get(scorer, "metric"))
        return answered(group)


def _score_lists(row: dict[str, Any], n: int) -> dict[str, list[Any]]:
    """The lists of scores of a row by their scorers, each as long as the list of responses; missing ones left out."""
    named = {k: v for k, v in row.items() if (k == "scores" or k.startswith("scores_")) and v not in (None, [])}
    for name, values in named.items():
        if not isinstance(values, (list, tuple)) or len(values) != n:
            raise Dropped("scores_do_not_fit_responses", name)
    return {name.removeprefix("scores_") if name != "scores" else "score": list(v) for name, v in named.items()}


def _texts(row: dict[str, Any], name: str, n: int) -> list[str]:
    """A list of texts that goes with the responses; empty texts where there is none."""
    values = row.get(name)
    if not isinstance(values, (list, tuple)) or len(values) != n:
        return [""] * n
    return [v if isinstance(v, str) else "" for v in values]
