"""What the label stage asks of a labeler."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Candidate, Group, Score


class Labeler:
    """Scores responses; higher is better. `name` is what the scores are stored under."""

    name: str

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Load and check what is needed, before the first row. Returns facts for the manifest."""
        return {}

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        """The new scores of each candidate of each group: groups x candidates x scores. `step` counts responses."""
        raise TypeError(f"{type(self).__name__} has no method score(groups, step)")

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """More facts for the manifest, worked out from the stored scores of all groups."""
        return {}


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
