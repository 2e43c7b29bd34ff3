"""The response that best meets a condition against the one that meets it worst."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

from prefine.conditions import asked, asking, condition_text
from prefine.pair.base import Pairs
from prefine.pair.best_worst import BestWorst
from prefine.pair.selection import ratings_of
from prefine.registry import pairers
from prefine.schema import Example, Group

DIGITS = 9


@pairers.register("controllable")
class Controllable:
    """The response closest to the targets of a condition against the farthest, both under a prompt that asks for them.

    The paper calls this CDPO. It is neither contrastive preference optimization (the objective `cpo`) nor conservative
    DPO (`dpo` with label smoothing): it only makes pairs, and any objective for pairs trains on them.

    Formula: R(y) = sum_k w_k g_k, g_k = -penalty |s_k - target_k| if k has a target, else s_k; (argmax R, argmin R)
    Paper: Controllable Preference Optimization, Guo et al. 2024 (arXiv:2402.19085), CDPO; the paper's definition, which
    its released code does not follow where a rating meets its target exactly
    Defaults: weights 1; a target may be a list, and a prompt gives a pair for each combination of targets
    Needs: a score for each of the ratings (`scorer` or `scorer.aspect`)
    """

    group_size = 2
    needs_scores = False

    def __init__(
        self,
        ratings: list[str],
        conditions: dict[str, float | list[float]],
        penalty: float = 1.0,
        weights: dict[str, float] | None = None,
        min_gap: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not ratings:
            raise ValueError("ratings must name at least one score")
        if len(set(ratings)) < len(ratings):
            raise ValueError("ratings must not name a score twice")
        if set(conditions) - set(ratings):
            raise ValueError(
                f"conditions: '{min(set(conditions) - set(ratings))}' is none of the ratings; "
                f"valid names: {', '.join(sorted(ratings))}"
            )
        if weights and set(weights) - set(ratings):
            raise ValueError(
                f"weights: '{min(set(weights) - set(ratings))}' is none of the ratings; "
                f"valid names: {', '.join(sorted(ratings))}"
            )
        if [] in conditions.values():
            raise ValueError("conditions must not have an empty list of targets")
        if not penalty > 0:
            raise ValueError(f"penalty must be positive, not {penalty}")
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        self.ratings, self.penalty = ratings, penalty
        self.weights = {name: (weights or {}).get(name, 1.0) for name in ratings}
        self.conditions = _combinations(conditions)
        self._best_worst = BestWorst(min_gap, seed)

    def reward(self, ratings: Mapping[str, float], condition: Mapping[str, float]) -> float:
        """R of a response with these ratings."""
        parts = []
        for name in self.ratings:
            met = -self.penalty * abs(ratings[name] - condition[name]) if name in condition else ratings[name]
            parts.append(self.weights[name] * met)
        # Ties in decimals must be ties: |0.1 - 0.3| and |0.5 - 0.3| differ in the last bit.
        return round(math.fsum(parts), DIGITS)

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        rows = [ratings_of(c, self.ratings) for c in group.candidates]
        out: list[Example] = []
        reasons = []
        for condition in self.conditions:
            rewards = [None if row is None else self.reward(row, condition) for row in rows]
            found, reason = self._best_worst.pairs(group, rewards)
            prompt = asked(group, condition).messages
            out += [asking(e, prompt) for e in found]
            reasons.append(reason)
        return (out, None) if out else ([], reasons[0])


def _combinations(conditions: dict[str, float | list[float]]) -> list[dict[str, float]]:
    """One condition for each choice of a target per rating."""
    choices = [value if isinstance(value, list) else [value] for value in conditions.values()]
    out: list[dict[str, float]] = [dict(zip(conditions, values, strict=True)) for values in product(*choices)]
    if len({condition_text(c) for c in out}) < len(out):
        raise ValueError("conditions must not have two targets that read the same")
    return out
