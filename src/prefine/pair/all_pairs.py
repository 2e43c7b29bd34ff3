"""Every pair of a better and a worse response."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from prefine.pair.base import Pairs, draw, pair, rated, why_none, wide_enough
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("all_pairs")
class AllPairs:
    """Every pair of a better and a worse response, at most `max_pairs` of a prompt.

    Formula: {(i, j): s_i - s_j >= min_gap and > 0}; beyond max_pairs, those with the smallest hash
    Defaults: a text that was sampled twice counts twice; `duplicates: collapse` makes it one with the mean score
    """

    group_size = 2
    needs_scores = True

    def __init__(
        self,
        min_gap: float = 0.0,
        max_pairs: int | None = None,
        duplicates: Literal["keep", "collapse"] = "keep",
        seed: int = 0,
    ) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        self.min_gap, self.max_pairs, self.duplicates, self.seed = min_gap, max_pairs, duplicates, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed, collapse=self.duplicates == "collapse")
        if reason := why_none(items, group):
            return [], reason
        wide = [
            (a, b)
            for a, b in combinations(items, 2)
            if wide_enough(a.score, b.score, self.min_gap) and a.text != b.text
        ]
        if not wide:
            return [], "gap_below_min_gap"
        if self.max_pairs is not None and len(wide) > self.max_pairs:
            wide.sort(key=lambda p: draw(self.seed, "pair", group.id, p[0].candidate.id, p[1].candidate.id))
            wide = wide[: self.max_pairs]
        return sorted((pair(group, a, b) for a, b in wide), key=lambda e: e.id), None
