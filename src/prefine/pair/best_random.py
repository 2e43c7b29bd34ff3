"""The best response against a random worse one."""

from __future__ import annotations

from prefine.pair.base import Pairs, draw, rated, why_none, wide_enough
from prefine.pair.by_gap import ByGap
from prefine.registry import pairers
from prefine.schema import Group


@pairers.register("best_random")
class BestRandom(ByGap):
    """The response with the highest score against a random one of those that are strictly worse.

    Formula: (argmax s, random j with max s - s_j >= min_gap and > 0), the draw by a hash of seed, prompt and response
    Paper: Zephyr, Tunstall et al. 2023 (arXiv:2310.16944), section 3, here without its ties
    """

    def __init__(self, min_gap: float = 0.0, seed: int = 0) -> None:
        super().__init__(min_gap, seed)

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        worse = [r for r in items if wide_enough(items[0].score, r.score, self.min_gap)]
        worse.sort(key=lambda r: draw(self.seed, "rejected", group.id, r.candidate.id))
        return self.examples(group, [(items[0], r) for r in worse[:1]])
