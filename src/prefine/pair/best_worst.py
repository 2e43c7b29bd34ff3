"""The best response against the worst."""

from __future__ import annotations

from prefine.pair.base import Pairs, pair, rated, why_none, wide_enough
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_worst")
class BestWorst:
    """The response with the highest score against the one with the lowest.

    Formula: (argmax s, argmin s) if max s - min s >= min_gap and > 0
    Paper: SimPO, Meng et al. 2024 (arXiv:2405.14734), section 4, pairs from a reward model
    """

    group_size = 2
    needs_scores = True

    def __init__(self, min_gap: float = 0.0, seed: int = 0) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        self.min_gap, self.seed = min_gap, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        if not wide_enough(items[0].score, items[-1].score, self.min_gap):
            return [], "gap_below_min_gap"
        return [pair(group, items[0], items[-1])], None
