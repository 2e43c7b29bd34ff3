"""The best response against each of the others."""

from __future__ import annotations

from prefine.pair.base import Pairs, rated, why_none, wide_enough
from prefine.pair.by_gap import ByGap
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_rest", "best_vs_rest")
class BestRest(ByGap):
    """The response with the highest score against each that is strictly worse: one chosen, many rejected.

    Formula: {(argmax s, j): max s - s_j >= min_gap and > 0}; of several best ones the one with the smallest hash
    """

    def __init__(self, min_gap: float = 0.0, max_pairs: int | None = None, seed: int = 0) -> None:
        super().__init__(min_gap, seed, max_pairs)

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        found = [(items[0], r) for r in items if wide_enough(items[0].score, r.score, self.min_gap)]
        return self.examples(group, found)
