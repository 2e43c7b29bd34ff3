"""Neighbors in the ranking."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from prefine.pair.base import Pairs, rated, why_none
from prefine.pair.by_gap import WithTies
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("adjacent")
class Adjacent(WithTies):
    """Each response against the next worse one: pairs that differ little.

    Formula: {(i, i + 1): s_i - s_(i+1) >= min_gap and > 0}, ranked by score, ties by hash; equal texts are one
    Defaults: ties drop: neighbors with equal scores make no pair; random, shorter, longer: they do; keep_soft: for
    objectives with labels of scores
    """

    def __init__(
        self,
        min_gap: float = 0.0,
        max_pairs: int | None = None,
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
    ) -> None:
        super().__init__(min_gap, seed, ties, max_pairs)

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        return self.examples(group, self.sided(group, pairwise(items)))
