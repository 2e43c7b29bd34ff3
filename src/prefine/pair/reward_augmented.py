"""Each pair twice: once for the score of its better response, once, the other way round, for that of the worse."""

from __future__ import annotations

from typing import Literal

from prefine.conditions import asked, asking, number_text
from prefine.pair.all_pairs import AllPairs
from prefine.pair.base import Pairs, example
from prefine.pair.best_random import BestRandom
from prefine.pair.best_worst import BestWorst
from prefine.pair.max_margin import MaxMargin
from prefine.registry import pairers
from prefine.schema import Example, Group


@pairers.register("reward_augmented")
class RewardAugmented:
    """Two pairs from each: under the goal of the better response's score as it is, under that of the worse flipped.

    The goal stands in the system message; ask for the highest one at inference (`data.goal`). Scores are those under
    the goal, 0 for the chosen response.

    Formula: R(y | goal) = -(goal - s(y))^2; (w, l) with s_w > s_l gives (w, l | goal s_w) and (l, w | goal s_l)
    Paper: Reward-augmented data, Zhang et al. 2024 (arXiv:2410.08067)
    Defaults: pairs best_worst, with the settings of the pairer of that name; of two scores that read the same in a
    prompt there is only the first pair
    """

    group_size = 2
    needs_scores = True

    def __init__(
        self,
        pairs: Literal["best_worst", "best_random", "all_pairs", "max_margin"] = "best_worst",
        min_gap: float = 0.0,
        max_pairs: int | None = None,
        max_length_ratio: float | None = None,
        seed: int = 0,
    ) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and pairs != "all_pairs":
            raise ValueError(f"max_pairs is a setting of pairs: all_pairs, not of {pairs}")
        if max_length_ratio is not None and pairs != "max_margin":
            raise ValueError(f"max_length_ratio is a setting of pairs: max_margin, not of {pairs}")
        self._pairer: AllPairs | BestRandom | BestWorst | MaxMargin
        if pairs == "all_pairs":
            self._pairer = AllPairs(min_gap, max_pairs, seed=seed)
        elif pairs == "max_margin":
            self._pairer = MaxMargin(max_length_ratio, min_gap, seed)
        else:
            self._pairer = (BestRandom if pairs == "best_random" else BestWorst)(min_gap, seed)

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        found, reason = self._pairer.pairs(group, scores)
        if reason is not None:
            return [], reason
        return [new for e in found for new in _both_ways(group, e)], None


def _both_ways(group: Group, item: Example) -> list[Example]:
    better, worse = item.scores
    relative = [0.0, -((better - worse) ** 2)]
    chosen, rejected = (group.candidate(i) for i in item.candidate_ids)
    kept = asking(example(group, [chosen, rejected], relative), asked(group, goal=better).messages)
    if number_text(better) == number_text(worse):
        # The same goal cannot ask for both: the better response stays the one to prefer.
        return [kept]
    return [kept, asking(example(group, [rejected, chosen], relative), asked(group, goal=worse).messages)]
