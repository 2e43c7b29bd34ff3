"""The best response against the worst."""

from __future__ import annotations

from typing import Literal

from prefine.pair.base import Pairs, pair, rated, why_none
from prefine.pair.ties import ordered
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_worst")
class BestWorst:
    """The response with the highest score against the one with the lowest.

    Formula: (argmax s, argmin s) if max s - min s >= min_gap and > 0
    Paper: SimPO, Meng et al. 2024 (arXiv:2405.14734), section 4, pairs from a reward model
    Defaults: ties drop: a prompt whose scores are all equal has no pair; random, shorter, longer: two of its responses;
    keep_soft: the same, for objectives with labels of scores
    """

    group_size = 2
    needs_scores = True

    def __init__(
        self,
        min_gap: float = 0.0,
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
    ) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if ties != "drop" and min_gap > 0:
            raise ValueError(f"ties have no gap, so that min_gap must be 0 with ties {ties}, not {min_gap}")
        self.min_gap, self.seed, self.ties = min_gap, seed, ties

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        sides = ordered(items[0], items[-1], self.ties, self.seed, group, self.min_gap)
        return ([pair(group, *sides)], None) if sides else ([], "gap_below_min_gap")
