"""Neighbors in the ranking."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from prefine.pair.base import Pairs, rated, why_none
from prefine.pair.ties import capped, ordered
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("adjacent")
class Adjacent:
    """Each response against the next worse one: pairs that differ little.

    Formula: {(i, i + 1): s_i - s_(i+1) >= min_gap and > 0}, ranked by score, ties by hash; equal texts are one
    Defaults: ties drop: neighbors with equal scores make no pair; random, shorter, longer: they do; keep_soft: for
    objectives with labels of scores
    """

    group_size = 2
    needs_scores = True

    def __init__(
        self,
        min_gap: float = 0.0,
        max_pairs: int | None = None,
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
    ) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        if ties != "drop" and min_gap > 0:
            raise ValueError(f"ties have no gap, so that min_gap must be 0 with ties {ties}, not {min_gap}")
        self.min_gap, self.max_pairs, self.seed, self.ties = min_gap, max_pairs, seed, ties

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        sided = (ordered(a, b, self.ties, self.seed, group, self.min_gap) for a, b in pairwise(items))
        found = [p for p in sided if p is not None]
        return capped(group, found, self.max_pairs, self.seed) if found else ([], "gap_below_min_gap")
