"""Every pair of a better and a worse response."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from prefine.pair.base import Pairs, rated, why_none
from prefine.pair.by_gap import WithTies
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("all_pairs")
class AllPairs(WithTies):
    """Every pair of a better and a worse response, at most `max_pairs` of a prompt.

    Formula: {(i, j): s_i - s_j >= min_gap and > 0}; beyond max_pairs, those with the smallest hash
    Defaults: a text that was sampled twice counts twice; `duplicates: collapse` makes it one with the mean score; ties
    drop: equal scores make no pair; random, shorter, longer: they do; keep_soft: for objectives with labels of scores
    """

    def __init__(
        self,
        min_gap: float = 0.0,
        max_pairs: int | None = None,
        duplicates: Literal["keep", "collapse"] = "keep",
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
    ) -> None:
        super().__init__(min_gap, seed, ties, max_pairs)
        self.duplicates = duplicates

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed, collapse=self.duplicates == "collapse")
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        return self.examples(group, self.sided(group, combinations(items, 2)))
