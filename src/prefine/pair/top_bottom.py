"""The best few responses against the worst few."""

from __future__ import annotations

from itertools import product

from prefine.pair.base import Pairs, rated, why_none, wide_enough
from prefine.pair.ties import capped
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("top_bottom", "top_k_vs_bottom_k")
class TopBottom:
    """Each of the k best responses against each of the k worst.

    Formula: {(i, j): i among the k best, j among the k worst, s_i - s_j >= min_gap and > 0}; a prompt with fewer than
    2 k scored responses is dropped
    Defaults: k 2
    """

    group_size = 2
    needs_scores = True

    def __init__(self, k: int = 2, min_gap: float = 0.0, max_pairs: int | None = None, seed: int = 0) -> None:
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        self.k, self.min_gap, self.max_pairs, self.seed = k, min_gap, max_pairs, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        if len(items) < 2 * self.k:
            return [], "fewer_than_2k_scored_responses"
        both = product(items[: self.k], items[-self.k :])
        found = [(a, b) for a, b in both if wide_enough(a.score, b.score, self.min_gap)]
        return capped(group, found, self.max_pairs, self.seed) if found else ([], "gap_below_min_gap")
