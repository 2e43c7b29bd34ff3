"""The best response against each of the others."""

from __future__ import annotations

from prefine.pair.base import Pairs, rated, why_none, wide_enough
from prefine.pair.ties import capped
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_rest", "best_vs_rest")
class BestRest:
    """The response with the highest score against each that is strictly worse: one chosen, many rejected.

    Formula: {(argmax s, j): max s - s_j >= min_gap and > 0}; of several best ones the one with the smallest hash
    """

    group_size = 2
    needs_scores = True

    def __init__(self, min_gap: float = 0.0, max_pairs: int | None = None, seed: int = 0) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        self.min_gap, self.max_pairs, self.seed = min_gap, max_pairs, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        found = [(items[0], r) for r in items if wide_enough(items[0].score, r.score, self.min_gap)]
        return capped(group, found, self.max_pairs, self.seed) if found else ([], "gap_below_min_gap")
