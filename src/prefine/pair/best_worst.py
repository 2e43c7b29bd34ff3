"""The best response against the worst."""

from __future__ import annotations

from prefine.pair.base import Pairs, rated, why_none
from prefine.pair.by_gap import OnePair
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_worst")
class BestWorst(OnePair):
    """The response with the highest score against the one with the lowest.

    Formula: (argmax s, argmin s) if max s - min s >= min_gap and > 0
    Paper: SimPO, Meng et al. 2024 (arXiv:2405.14734), section 4, pairs from a reward model
    Defaults: ties drop: a prompt whose scores are all equal has no pair; random, shorter, longer: two of its responses;
    keep_soft: the same, for objectives with labels of scores
    """

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group, ties=self.ties != "drop"):
            return [], reason
        return self.examples(group, self.sided(group, [(items[0], items[-1])]))
