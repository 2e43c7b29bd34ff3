"""Single responses with a label, for objectives that need no pairs."""

from __future__ import annotations

from prefine.pair.base import Pairs, TextKey, example, rated, text_key
from prefine.registry import pairers
from prefine.schema import Candidate, Example, Group


@pairers.register("unpaired")
class Unpaired:
    """Each response as a row of its own, desirable or not; equal texts with one label are one row.

    Formula: the label that came with the data; with threshold, desirable if score > threshold
    Paper: KTO, Ethayarajh et al. 2024 (arXiv:2402.01306), section 4
    """

    group_size = None
    labels = True
    needs_scores = False

    def __init__(self, threshold: float | None = None, seed: int = 0) -> None:
        self.threshold, self.seed = threshold, seed
        self.needs_scores = threshold is not None

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        if not group.candidates:
            return [], "no_responses"
        if self.threshold is not None:
            items = rated(group, scores, self.seed)
            found = [(r.candidate, r.score > self.threshold, [r.score]) for r in items]
            return [_labeled(group, *f) for f in found], None if found else "no_scored_response"
        written = [c for c in sorted(group.candidates, key=lambda c: c.id) if c.text.strip()]
        labels: dict[TextKey, set[bool]] = {}
        for c in written:
            if c.labels:
                labels.setdefault(text_key(c), set()).add(all(c.labels.values()))
        if not labels:
            return [], "no_labels" if written else "only_empty_responses"
        first = {text_key(c): c for c in reversed(written)}
        kept = [(first[text], next(iter(found))) for text, found in labels.items() if len(found) == 1]
        rows = [_labeled(group, c, good, []) for c, good in kept]
        return rows, None if rows else "contradictory_labels"


def _labeled(group: Group, candidate: Candidate, good: bool, scores: list[float]) -> Example:
    made = example(group, [candidate], scores)
    made.labels = [float(good)]
    return made
