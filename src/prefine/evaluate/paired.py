"""Two systems on the same prompts: difference with its interval, tests, and what could have been detected at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np

from prefine.evaluate.statistics import LEVEL, RESAMPLES, mean

DETECTABLE = 2.8
"""Standard errors of a difference that a two-sided test at 5 % finds with power 80 %: 1.96 + .84."""
DRAWS_AT_ONCE = 1 << 22
CLOSE = 1e-12

Key = TypeVar("Key")


@dataclass(frozen=True)
class Difference:
    """The mean of ours - theirs over `n` prompts, its percentile bootstrap interval and sign-flip p-value.

    `detectable` is the smallest difference that as many prompts would show four times in five (2.8 standard errors).
    `missing` prompts had no score on one side. `adjusted` is the p-value after Holm's correction, where there were
    several comparisons.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    standard_error: float | None
    p_value: float | None
    detectable: float | None
    missing: int = 0
    adjusted: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def paired_difference(
    ours: Sequence[float | None],
    theirs: Sequence[float | None],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """Compare two systems by one number per prompt each, None where there is no score."""
    gaps = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    found = mean(gaps, resamples=resamples, level=level, seed=seed)
    error = found.standard_error
    return Difference(
        **found.as_dict(),
        p_value=sign_flip_p(gaps, rounds=resamples, seed=seed),
        detectable=None if error is None else DETECTABLE * error,
        missing=len(ours) - len(gaps),
    )


def sign_flip_p(gaps: Sequence[float], *, rounds: int = RESAMPLES, seed: int = 0) -> float | None:
    """Two-sided p-value of a mean difference of zero: how often random signs give a mean as far from 0.

    The observed signs count as one round (the add-one rule), so p is never 0. None without prompts.
    """
    d = np.asarray(gaps, dtype=np.float64)
    if not len(d):
        return None
    d = d[d != 0]
    rng = np.random.default_rng(seed)
    observed = abs(d.sum()) * (1 - CLOSE)
    at_once = max(1, DRAWS_AT_ONCE // max(len(d), 1))
    beyond = 0
    for start in range(0, rounds, at_once):
        flips = 2.0 * rng.integers(0, 2, (min(at_once, rounds - start), len(d))) - 1
        beyond += int((np.abs(flips @ d) >= observed).sum())
    return (beyond + 1) / (rounds + 1)


def mcnemar_p(only_ours: int, only_theirs: int) -> float:
    """Exact two-sided p-value that we are alone right as often as they are alone right (McNemar 1947)."""
    n, few = only_ours + only_theirs, min(only_ours, only_theirs)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n if n else 1.0
    return min(1.0, 2 * tail)


def wilson(right: float, n: int, *, level: float = LEVEL) -> tuple[float, float] | None:
    """The interval of a share `right` of `n` (Wilson 1927); None without trials."""
    if not n:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, scale = right / n, 1 + z * z / n
    center = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979), in the order given; compare them with the level itself."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def against_baseline(
    systems: Mapping[Key, Sequence[float | None]], baseline: Sequence[float | None], *, seed: int = 0
) -> dict[Key, Difference]:
    """Every system against one baseline on the same prompts, p-values adjusted by Holm over all that have one."""
    found = {name: paired_difference(values, baseline, seed=seed) for name, values in systems.items()}
    tested = {name: d.p_value for name, d in found.items() if d.p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {name: replace(d, adjusted=adjusted.get(name)) for name, d in found.items()}
