"""The best response against a random worse one."""

from __future__ import annotations

from prefine.pair.base import Pairs, draw, pair, rated, why_none, wide_enough
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_random")
class BestRandom:
    """The response with the highest score against a random one of those that are strictly worse.

    Formula: (argmax s, random j with max s - s_j >= min_gap and > 0), the draw by a hash of seed, prompt and response
    Paper: Zephyr, Tunstall et al. 2023 (arXiv:2310.16944), section 3, here without its ties
    """

    group_size = 2
    needs_scores = True

    def __init__(self, min_gap: float = 0.0, seed: int = 0) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        self.min_gap, self.seed = min_gap, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        worse = [r for r in items if wide_enough(items[0].score, r.score, self.min_gap)]
        if not worse:
            return [], "gap_below_min_gap"
        rejected = min(worse, key=lambda r: draw(self.seed, "rejected", group.id, r.candidate.id))
        return [pair(group, items[0], rejected)], None
