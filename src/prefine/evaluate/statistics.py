"""Means with bootstrap intervals, and win rates over prompts. Plain numpy; the same seed gives the same interval.

The unit is always the prompt: its responses (and the pairs of responses of two models) are first averaged, and prompts
are what is resampled, because answers to one prompt are not independent observations.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
TIE = 1e-9
DRAWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` prompts with its percentile bootstrap interval, and the standard error of the mean.

    All but `n` are None when nothing was measured; one prompt gives a value without an interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    standard_error: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class WinRate(Estimate):
    """The share of comparisons won, ties half. `ties` of `comparisons` were tied; `missing` prompts had no score."""

    ties: int = 0
    comparisons: int = 0
    missing: int = 0


def mean(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """sum(w v) / sum(w) over prompts with the percentile interval of `resamples` draws of prompts with replacement.

    `values` are one number per prompt; `weights` (default 1) make it a ratio, for example correct pairs over pairs.
    The interval is Efron's percentile interval (Efron & Tibshirani 1993, chapter 13).
    """
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    if v.shape != w.shape or v.ndim != 1:
        raise ValueError(f"values and weights must be two lists of one length, not {v.shape} and {w.shape}")
    if len(v) == 0 or w.sum() == 0:
        return Estimate(None, None, None, 0)
    value = float((v * w).sum() / w.sum())
    if len(v) == 1:
        return Estimate(value, None, None, 1)
    draws = _resampled_means(v, w, resamples, seed)
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), len(v), _standard_error(v, w, value))


def share(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """The mean of numbers between 0 and 1, such as wins. Where all are 1, or all 0, resampling knows no other value.

    Then the open end is the exact binomial bound (Clopper & Pearson 1934): with n of n, the lower end is tail**(1/n).
    """
    found = mean(values, weights, resamples=resamples, level=level, seed=seed)
    reach = ((1 - level) / 2) ** (1 / found.n) if found.n else 0.0
    if found.n > 1 and min(values) == 1:
        return replace(found, low=reach)
    if found.n > 1 and max(values) == 0:
        return replace(found, high=1 - reach)
    return found


def _resampled_means(v: np.ndarray, w: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` draws of all prompts with replacement, a bounded number of draws in memory at a time."""
    n = len(v)
    at_once = max(1, DRAWS_AT_ONCE // n)
    out = []
    for chunk, start in enumerate(range(0, resamples, at_once)):
        times = _times_drawn(n, min(at_once, resamples - start), seed, chunk)
        total = times @ w
        sums = times @ (v * w)
        out.append(sums[total > 0] / total[total > 0])
    return np.concatenate(out)


@functools.lru_cache(maxsize=4)
def _times_drawn(n: int, rows: int, seed: int, chunk: int) -> np.ndarray:
    """(rows, n): how often each of n prompts is drawn in each resample.

    Kept for the next estimate over as many prompts: estimates of one report share their resamples, which is both
    faster and what makes their intervals comparable.
    """
    rng = np.random.default_rng([seed, chunk])
    drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _standard_error(v: np.ndarray, w: np.ndarray, value: float) -> float:
    """sd / sqrt(n) of the mean; with weights, the linearized error of the ratio."""
    n = len(v)
    residual = w * (v - value) / w.mean()
    return float(np.sqrt((residual**2).sum() / (n - 1) / n))


def preference(ours: Sequence[float | None], theirs: Sequence[float | None]) -> tuple[float, int, int] | None:
    """Our share of wins over all pairs of our and their scores of one prompt, with the ties and pairs it rests on.

    Scores within 1e-9 tie and count one half. None when one side has no score.
    """
    a = np.array([x for x in ours if x is not None], dtype=np.float64)
    b = np.array([x for x in theirs if x is not None], dtype=np.float64)
    if not len(a) or not len(b):
        return None
    gap = a[:, None] - b[None, :]
    ties = int((np.abs(gap) <= TIE).sum())
    wins = int((gap > TIE).sum())
    return (wins + ties / 2) / gap.size, ties, gap.size


def win_rate(
    ours: Sequence[Sequence[float | None]],
    theirs: Sequence[Sequence[float | None]],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> WinRate:
    """Win rate of one model against another on the same prompts, with a paired bootstrap over prompts.

    ours, theirs: for each prompt the scores of its responses, one (greedy) or several (all pairs are compared). Both
    models' answers to a prompt stay together when it is resampled, which is what makes the bootstrap paired.
    """
    compared = [preference(a, b) for a, b in zip(ours, theirs, strict=True)]
    kept = [c for c in compared if c is not None]
    estimate = share([c[0] for c in kept], resamples=resamples, level=level, seed=seed)
    return WinRate(
        **estimate.as_dict(),
        ties=sum(c[1] for c in kept),
        comparisons=sum(c[2] for c in kept),
        missing=len(compared) - len(kept),
    )


def spearman(targets: Sequence[float], judged: Sequence[float | None]) -> float | None:
    """Rank correlation of what was asked for and what was judged, between -1 and 1; equal values share their mean rank.

    Pairs without a judged value are left out; None where fewer than two are left or one side does not vary. It is
    Pearson's correlation of the ranks (Spearman 1904).
    """
    kept = [(t, j) for t, j in zip(targets, judged, strict=True) if j is not None]
    if len(kept) < 2:
        return None
    a, b = (_ranks(np.array(side, dtype=np.float64)) for side in zip(*kept, strict=True))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values have the mean of their ranks."""
    _, which, times = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(times) - (times - 1) / 2)[which]
