"""How well responses meet the rating that their prompt asks for."""

from __future__ import annotations

from prefine.conditions import goal_of, rating_word, targets, unasked
from prefine.errors import PrefineError, nearest
from prefine.evaluate.metrics.base import Metric
from prefine.evaluate.programmatic import Programmatic
from prefine.registry import metrics
from prefine.schema import Group


@metrics.register("controllability")
class Controllability(Metric):
    """Distance of a response's judged rating from the one that its prompt asks for; 0 is exact, so it decides no win.

    Formula: |function(prompt, response, task_meta) - target|, the prompt without its condition; its mean over responses
    Paper: Controllable Preference Optimization, Guo et al. 2024 (arXiv:2402.19085)
    Defaults: target null takes the prompt's own, from data.condition, or with `rating: goal` from data.goal
    Needs: a module that Python can import; one block for each rating
    """

    higher_is_better = False

    def __init__(self, rating: str, function: str, target: float | None = None, as_name: str | None = None) -> None:
        if ":" not in function:
            raise ValueError(f"function must be module:function, not '{function}'")
        self.rating, self.target = rating_word(rating), target
        self.name = as_name or f"controllability_{self.rating}"
        self._judge = Programmatic(function, self.name)

    def score(self, group: Group, response: str) -> float | None:
        """|judged - target|, None where the function gives no score; a prompt that asks for nothing is an error."""
        target = self._target(group)
        judged = self._judge.score(unasked(group), response)
        return None if judged is None else abs(judged - target)

    def _target(self, group: Group) -> float:
        if self.target is not None:
            return self.target
        known, goal = targets(group), goal_of(group)
        if goal is not None:
            known.setdefault("goal", goal)
        if self.rating not in known:
            hint = nearest(self.rating, known) or "; set evaluate.data.condition, or target in the metric"
            raise PrefineError(
                f"{self.name}: the prompt {group.id[:12]} does not ask for a rating '{self.rating}'{hint}"
            )
        return known[self.rating]
