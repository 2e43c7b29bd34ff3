"""A reward model as a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prefine.conditions import unasked
from prefine.evaluate.metrics.base import Asked, Metric
from prefine.label.reward_model import RewardModel as Labeler
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import metrics
from prefine.schema import Candidate, Score


@metrics.register("reward")
class Reward(Metric):
    """The score of a reward model, as the labeler `reward_model` gives it.

    Formula: its output r; with probability: true 1 / (1 + exp(-r)), whose mean has a meaning of its own
    Paper: Ouyang et al. 2022 (arXiv:2203.02155), section 3.5
    Defaults: max_length: null is the model's context; longer conversations get no score
    Needs: model
    """

    higher_is_better = True

    def __init__(
        self,
        model: str | dict,
        probability: bool = False,
        max_length: int | None = None,
        max_tokens: int = 8192,
        as_name: str = "reward",
    ) -> None:
        self.name, self.probability = as_name, probability
        self._labeler = Labeler(model, max_length, max_tokens, as_name)
        self._facts: dict[str, Any] = {}

    def prepare(self, recipe: Recipe) -> None:
        self._facts = self._labeler.prepare(recipe)

    def scores(self, asked: Sequence[Asked], step: Step) -> list[Score]:
        groups = [replace(unasked(g), candidates=[_response(text)], comparisons=[]) for g, text in asked]
        found = [scores[0][0] for scores in self._labeler.score(groups, step)]
        for score in found:
            score.kind = "metric"
            if self.probability and score.value is not None:
                score.value = sigmoid(score.value)
        return found

    def facts(self) -> dict[str, Any]:
        return {**self._facts, "probability": self.probability}

    def close(self) -> None:
        self._labeler.close()
        self._labeler.model = None


def _response(text: str) -> Candidate:
    return Candidate("", [{"role": "assistant", "content": text}])


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
