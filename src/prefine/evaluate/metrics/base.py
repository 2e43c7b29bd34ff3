"""What the evaluate stage asks of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Group, Score

Asked = tuple[Group, str]
"""A prompt and one response to it."""

Rows = Sequence[tuple[Group, Sequence[str]]]
"""Prompts, each with all responses that one model gave in one mode."""


class Metric:
    """A number for each response, and for some metrics one for all responses together.

    One that needs no more than a response has a method `score`; one that works in batches has `scores` instead.
    `name` is what values are stored under. `higher_is_better` None: it says nothing of quality, so decides no win rate.
    """

    name: str
    higher_is_better: bool | None = None

    def check(self, groups: Sequence[Group]) -> None:
        """Refuse prompts that cannot be scored at all, and a missing extra, before the first response is drawn."""

    def prepare(self, recipe: Recipe) -> None:
        """Load or connect, before the first response is scored."""

    def score(self, group: Group, response: str) -> float | None:
        """The value of one response to the group's prompt; None where it cannot be scored."""
        raise TypeError(f"{type(self).__name__} has no method score(group, response)")

    def scores(self, asked: Sequence[Asked], step: Step) -> list[Score]:
        """A score for each response, without a value and with a status where it has none. `step` counts responses."""
        out = []
        for group, response in asked:
            value = self.score(group, response)
            out.append(Score(self.name, value, status="ok" if value is not None else "no_score"))
            step(1)
        return out

    def corpus(self, rows: Rows) -> dict[str, Any] | None:
        """The value of all responses together, with its interval where it has one; None: there is no such value."""
        return None

    def corpus_difference(self, ours: Rows, theirs: Rows) -> dict[str, Any] | None:
        """Two models on the same prompts by their corpus values, with tests; None where there is no such test."""
        return None

    def facts(self) -> dict[str, Any]:
        """What the numbers depend on: signature, versions, the digest of a model. Asked when all are scored."""
        return {}

    def close(self) -> None:
        """Let go of what `prepare` opened."""
