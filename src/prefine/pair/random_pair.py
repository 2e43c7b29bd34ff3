"""Two responses at random, ordered by score."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from prefine.pair.base import Pairs, draw, pair, rated, why_none
from prefine.pair.ties import ordered
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("random_pair")
class RandomPair:
    """Two random responses, the one with the higher score chosen: a baseline for every other choice.

    Formula: the pair with the smallest hash of seed, prompt and responses among those with s_i - s_j >= min_gap and > 0
    Defaults: ties drop: equal scores are not drawn; random, shorter, longer: they are; keep_soft: for objectives with
    labels of scores
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
        sided = (ordered(a, b, self.ties, self.seed, group, self.min_gap) for a, b in combinations(items, 2))
        found = [p for p in sided if p is not None]
        if not found:
            return [], "gap_below_min_gap"
        sides = min(found, key=lambda p: draw(self.seed, "random", group.id, *sorted(r.candidate.id for r in p)))
        return [pair(group, *sides)], None
