"""Single responses: rows for supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from prefine.pair.base import Pairs, TextKey, example, rated, text_key
from prefine.registry import pairers
from prefine.schema import Candidate, Group


@pairers.register("responses")
class Responses:
    """Each response as a row of its own, for supervised fine-tuning; equal texts are one row.

    Formula: all of them; `best`: the one with the highest score; `desirable`: those labeled so
    """

    group_size = 1
    needs_scores = False

    def __init__(self, which: Literal["all", "best", "desirable"] = "all", seed: int = 0) -> None:
        self.which, self.seed = which, seed
        self.needs_scores = which == "best"

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        if not group.candidates:
            return [], "no_responses"
        if self.which == "best":
            items = rated(group, scores, self.seed)
            return (
                ([example(group, [items[0].candidate], [items[0].score])], None)
                if items
                else ([], "no_scored_response")
            )
        written = [c for c in group.candidates if c.text.strip()]
        kept = [c for c in written if self.which == "all" or _desirable(c)]
        if not kept:
            return [], "none_desirable" if written else "only_empty_responses"
        score = {c.id: s for c, s in zip(group.candidates, scores, strict=True)}
        unique: dict[TextKey, Candidate] = {}
        for c in sorted(kept, key=lambda c: c.id):
            unique.setdefault(text_key(c), c)
        known = ((c, score[c.id]) for c in unique.values())
        return [example(group, [c], [] if s is None else [s]) for c, s in known], None


def _desirable(candidate: Candidate) -> bool:
    """Labeled at all, and nothing that it is labeled with is false."""
    return bool(candidate.labels) and all(candidate.labels.values())
