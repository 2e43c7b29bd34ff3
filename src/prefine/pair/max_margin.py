"""The pair with the largest gap among those of similar length."""

from __future__ import annotations

from itertools import combinations

from prefine.pair.base import Pairs, Rated, draw, pair, rated, why_none, wide_enough
from prefine.pair.by_gap import ByGap
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("max_margin")
class MaxMargin(ByGap):
    """The pair with the largest gap of scores, among pairs whose lengths are within a ratio of each other.

    Formula: argmax over i, j of s_i - s_j, with max(|i|, |j|) <= max_length_ratio * min(|i|, |j|) in words
    Needs: max_length_ratio, for example 1.5; without one this is best_worst
    """

    def __init__(self, max_length_ratio: float | None = None, min_gap: float = 0.0, seed: int = 0) -> None:
        super().__init__(min_gap, seed)
        if max_length_ratio is not None and not max_length_ratio >= 1:
            raise ValueError(f"max_length_ratio must be 1 or more, not {max_length_ratio}")
        self.max_length_ratio = max_length_ratio

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        wide = [(a, b) for a, b in combinations(items, 2) if wide_enough(a.score, b.score, self.min_gap)]
        if not wide:
            return [], "gap_below_min_gap"
        similar = [(a, b) for a, b in wide if self._similar(a, b)]
        if not similar:
            return [], "no_pair_of_similar_length"
        chosen, rejected = min(
            similar,
            key=lambda p: (p[1].score - p[0].score, draw(self.seed, group.id, p[0].candidate.id, p[1].candidate.id)),
        )
        return [pair(group, chosen, rejected)], None

    def _similar(self, a: Rated, b: Rated) -> bool:
        if self.max_length_ratio is None:
            return True
        short, long = sorted(max(1, len(r.candidate.text.split())) for r in (a, b))
        return long <= self.max_length_ratio * short
