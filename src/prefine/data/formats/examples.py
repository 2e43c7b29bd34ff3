"""Training examples as the pair stage writes them, perhaps changed by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from prefine.data.build import Source, add_score
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of
from prefine.registry import formats
from prefine.schema import Comparison, Group


@formats.register("examples")
class Examples:
    """Pairs and ranked lists as prefine writes them, best response first.

    Columns: group_id, prompt (messages), responses (lists of messages), candidate_ids, scores.
    """

    rank = 15
    tells = "preferences"
    columns = ("id", "group_id", "split", "prompt", "responses", "candidate_ids", "scores", "finished")

    def matches(self, table: Columns) -> bool:
        return "candidate_ids" in table and table.has("prompt", "messages") and table.has("responses", "lists")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        responses, scores = list_of(row.get("responses"), "responses"), list_of(row.get("scores"), "scores")
        if scores and len(scores) != len(responses):
            raise Dropped("scores_do_not_fit_responses")
        found = [source.candidate(group, source.response(r, "responses")) for r in responses]
        if not found:
            raise Dropped("no_candidates")
        for candidate, ended in zip(found, list_of(row.get("finished"), "finished"), strict=False):
            candidate.finish_reason = "stop" if ended else "length"
        for candidate, score in zip(found, scores, strict=False):
            add_score(candidate, "score", score, source.notes)
        for better, worse in pairwise(found):
            if better.id == worse.id:
                raise Dropped("identical_responses")
            group.comparisons.append(Comparison(better.id, worse.id, "a", source.name))
        return group
