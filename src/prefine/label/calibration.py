"""The temperature under which a labeler's scores say how likely people are to agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from prefine.errors import PrefineError
from prefine.label.base import Labeler, Labels
from prefine.recipe import Data
from prefine.schema import Group

COLDEST, HOTTEST = 0.05, 20.0
"""A temperature is sought between these: scores that are always right, or wrong more often than right, have none."""
OUTCOMES = {"a": 1.0, "b": 0.0, "tie": 0.5}


def fit_temperature(judged: Sequence[tuple[float, float]]) -> float:
    """T that minimizes - sum of y ln sigmoid(d / T) + (1 - y) ln sigmoid(- d / T).

    judged: for each comparison the score of the first response minus that of the second, d, and the share y of people
    who prefer the first (1, 0, or 1/2 for a tie). The loss is convex in 1 / T, whose slope has one zero; it is found by
    bisection. Paper: temperature scaling, Guo et al. 2017 (arXiv:1706.04599)
    """

    def slope(inverse: float) -> float:
        return math.fsum(d * (_sigmoid(d * inverse) - y) for d, y in judged)

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def calibrate(labeler: Labeler, path: str) -> tuple[float, dict[str, Any]]:
    """The temperature for the comparisons of people in a file, all of whose responses the labeler scores.

    Returns it with facts: comparisons used, mean loss before and after in nats, whether it stopped at a bound. The
    file must not hold what is trained on.
    """
    from prefine.data.load import load_groups

    groups = [g for g in load_groups(Data(path=path, test_fraction=0.0))[0] if g.comparisons]
    if not groups:
        raise PrefineError(f"{path}: there are no comparisons to calibrate by; it needs rows with chosen and rejected")
    labels = labeler.label(groups, _silent)
    judged = [pair for group, found in zip(groups, labels, strict=True) for pair in _judged(group, found, labeler.name)]
    if not any(d for d, _ in judged):
        raise PrefineError(f"{path}: '{labeler.name}' tells no two responses apart that people have compared")
    t = fit_temperature(judged)
    facts = {
        "temperature": round(t, 6),
        "comparisons": len(judged),
        "loss_before": round(_loss(judged, 1.0), 6),
        "loss_after": round(_loss(judged, t), 6),
        "at_bound": t in (COLDEST, HOTTEST),
    }
    return t, facts


def _judged(group: Group, labels: Labels, name: str) -> Iterator[tuple[float, float]]:
    known = {}
    for candidate, scores in zip(group.candidates, labels.scores, strict=True):
        found = next((s.value for s in reversed(scores) if s.scorer == name and s.aspect is None), None)
        if found is not None:
            known[candidate.id] = found
    for c in group.comparisons:
        if c.outcome in OUTCOMES and c.a in known and c.b in known:
            yield known[c.a] - known[c.b], OUTCOMES[c.outcome]


def _loss(judged: Sequence[tuple[float, float]], t: float) -> float:
    """Mean negative log-likelihood."""
    return math.fsum(_softplus(d / t) - y * d / t for d, y in judged) / len(judged)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _silent(n: float = 1, *, note: str | None = None) -> None:
    """A step that nobody watches."""
