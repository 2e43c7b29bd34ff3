"""Two responses at random, ordered by score."""

from __future__ import annotations

from itertools import combinations

from prefine.pair.base import Pairs, draw, rated, why_none
from prefine.pair.by_gap import OnePair
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("random_pair")
class RandomPair(OnePair):
    """Two random responses, the one with the higher score chosen: a baseline for every other choice.

    Formula: the pair with the smallest hash of seed, prompt and responses among those with s_i - s_j >= min_gap and > 0
    Defaults: ties drop: equal scores are not drawn; random, shorter, longer: they are; keep_soft: for objectives with
    labels of scores
    """

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        found = self.sided(group, combinations(items, 2))
        found.sort(key=lambda p: draw(self.seed, "random", group.id, *sorted(r.candidate.id for r in p)))
        return self.examples(group, found[:1])
