"""What the label stage asks of a labeler."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Candidate, Comparison, Group, Score


@dataclass
class Labels:
    """What a labeler says about a group: the new scores of each of its candidates, and comparisons between them."""

    scores: list[list[Score]]
    comparisons: list[Comparison] = field(default_factory=list)


class Labeler:
    """Scores responses; higher is better. `name` is what the scores are stored under.

    One that only scores has a method `score`; one that also compares has `label` instead.
    """

    name: str

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Load and check what is needed, before the first row. Returns facts for the manifest."""
        return {}

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        """The new scores of each candidate of each group: groups x candidates x scores. `step` counts responses."""
        if type(self).label is Labeler.label:
            raise TypeError(f"{type(self).__name__} has no method score(groups, step)")
        return [found.scores for found in self.label(groups, step)]

    def label(self, groups: list[Group], step: Step) -> list[Labels]:
        """The new scores and comparisons of each group."""
        return [Labels(scores) for scores in self.score(groups, step)]

    def calls(self, groups: Iterable[Group]) -> int | None:
        """How many requests to a model these groups take, second tries aside; None for a labeler that sends none."""
        return None

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """More facts for the manifest, worked out from the stored scores of all groups."""
        return {}

    def close(self) -> None:
        """Let go of what `prepare` opened."""


def summary(name: str, groups: Iterable[Group]) -> dict[str, Any]:
    """Coverage, mean and spread of a scorer's numbers, and how many responses have none, by status."""
    values: list[float] = []
    missing: dict[str, int] = {}
    responses = 0
    for group in groups:
        for candidate in group.candidates:
            responses += 1
            last = latest(candidate, name)
            if last is not None and last.value is not None:
                values.append(last.value)
            else:
                status = last.status if last is not None else "not_scored"
                missing[status] = missing.get(status, 0) + 1
    out: dict[str, Any] = {"responses": responses, "scored": len(values), "missing": dict(sorted(missing.items()))}
    if values:
        mean = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        out |= {"mean": round(mean, 6), "sd": round(spread, 6), "min": min(values), "max": max(values)}
    return out


def latest(candidate: Candidate, scorer: str, aspect: str | None = None) -> Score | None:
    """The last score that `scorer` gave, also one without a value."""
    return next((s for s in reversed(candidate.scores) if s.scorer == scorer and s.aspect == aspect), None)
