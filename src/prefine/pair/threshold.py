"""Good responses against bad ones, by two limits."""

from __future__ import annotations

from itertools import product

from prefine.pair.base import Pairs, rated, why_none
from prefine.pair.ties import capped
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("threshold")
class Threshold:
    """Each response that is good enough against each that is bad enough; what lies between is left out.

    Formula: {(i, j): s_i >= high, s_j <= low}, low < high
    Needs: high, and low below it
    """

    group_size = 2
    needs_scores = True

    def __init__(self, high: float, low: float, max_pairs: int | None = None, seed: int = 0) -> None:
        if not low < high:
            raise ValueError(f"low must be below high ({high}), but is {low}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        self.high, self.low, self.max_pairs, self.seed = high, low, max_pairs, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        good, bad = [r for r in items if r.score >= self.high], [r for r in items if r.score <= self.low]
        if not good or not bad:
            return [], "none_above_high" if not good else "none_below_low"
        return capped(group, list(product(good, bad)), self.max_pairs, self.seed)
