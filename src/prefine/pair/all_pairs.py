"""Every pair of a better and a worse response."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from prefine.pair.base import Pairs, rated, why_none
from prefine.pair.ties import capped, ordered
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("all_pairs")
class AllPairs:
    """Every pair of a better and a worse response, at most `max_pairs` of a prompt.

    Formula: {(i, j): s_i - s_j >= min_gap and > 0}; beyond max_pairs, those with the smallest hash
    Defaults: a text that was sampled twice counts twice; `duplicates: collapse` makes it one with the mean score; ties
    drop: equal scores make no pair; random, shorter, longer: they do; keep_soft: for objectives with labels of scores
    """

    group_size = 2
    needs_scores = True

    def __init__(
        self,
        min_gap: float = 0.0,
        max_pairs: int | None = None,
        duplicates: Literal["keep", "collapse"] = "keep",
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
    ) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        if ties != "drop" and min_gap > 0:
            raise ValueError(f"ties have no gap, so that min_gap must be 0 with ties {ties}, not {min_gap}")
        self.min_gap, self.max_pairs, self.duplicates, self.seed = min_gap, max_pairs, duplicates, seed
        self.ties = ties

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed, collapse=self.duplicates == "collapse")
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        sided = (ordered(a, b, self.ties, self.seed, group, self.min_gap) for a, b in combinations(items, 2))
        wide = [p for p in sided if p is not None]
        return capped(group, wide, self.max_pairs, self.seed) if wide else ([], "gap_below_min_gap")
