"""The best few responses against the worst few."""

from __future__ import annotations

from itertools import product

from prefine.pair.base import Pairs, rated, why_none, wide_enough
from prefine.pair.by_gap import ByGap
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("top_bottom", "top_k_vs_bottom_k")
class TopBottom(ByGap):
    """Each of the k best responses against each of the k worst.

    Formula: {(i, j): i among the k best, j among the k worst, s_i - s_j >= min_gap and > 0}; a prompt with fewer than
    2 k scored responses is dropped
    Defaults: k 2
    """

    def __init__(self, k: int = 2, min_gap: float = 0.0, max_pairs: int | None = None, seed: int = 0) -> None:
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        super().__init__(min_gap, seed, max_pairs)
        self.k = k

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        if len(items) < 2 * self.k:
            return [], "fewer_than_2k_scored_responses"
        both = product(items[: self.k], items[-self.k :])
        found = [(a, b) for a, b in both if wide_enough(a.score, b.score, self.min_gap)]
        return self.examples(group, found)
