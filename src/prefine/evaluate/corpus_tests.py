"""Tests for metrics of a whole corpus, such as BLEU: they are no mean over segments, so segments' counts are resampled.

Paired bootstrap (Koehn 2004) and approximate randomization (Riezler and Maxwell 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prefine.evaluate.statistics import LEVEL

BOOTSTRAPS = 1000
RANDOMIZATIONS = 10_000
SEED = 12345
"""These three are sacrebleu's defaults."""


@dataclass(frozen=True)
class CorpusDifference:
    """ours - theirs of a corpus metric; the interval and the first p-value are of the bootstrap.

    Both p-values are two-sided and count the observed corpus as one draw.
    """

    ours: float
    theirs: float
    value: float
    low: float
    high: float
    bootstrap_p: float
    randomization_p: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def corpus_difference(
    ours: np.ndarray,
    theirs: np.ndarray,
    score: Callable[[np.ndarray], float],
    *,
    bootstraps: int = BOOTSTRAPS,
    randomizations: int = RANDOMIZATIONS,
    level: float = LEVEL,
    seed: int = SEED,
) -> CorpusDifference:
    """Compare two systems by the counts of their segments.

    ours, theirs: (segments, k) counts, whose sums over segments determine the metric; `score` turns such a (k,) sum
    into the metric. Bootstrap: segments are drawn with replacement, the same for both. Randomization: each segment's
    counts are exchanged between the systems with probability 1/2.
    """
    a, b = (np.asarray(side, dtype=np.float64) for side in (ours, theirs))
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(f"two tables of counts of one shape (segments, k) are wanted, not {a.shape} and {b.shape}")
    n, rng = len(a), np.random.default_rng(seed)
    first, second = score(a.sum(axis=0)), score(b.sum(axis=0))
    real = first - second
    drawn = np.empty(bootstraps)
    for i in range(bootstraps):
        times = np.bincount(rng.integers(0, n, n), minlength=n)
        drawn[i] = score(times @ a) - score(times @ b)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    gap, total = a - b, a.sum(axis=0) + b.sum(axis=0)
    exchanged = np.empty(randomizations)
    for i in range(randomizations):
        sums = a.sum(axis=0) - (rng.random(n) < 0.5) @ gap
        exchanged[i] = score(sums) - score(total - sums)
    return CorpusDifference(
        first,
        second,
        real,
        float(low),
        float(high),
        _p_value(drawn - drawn.mean(), real),
        _p_value(exchanged, real),
        n,
    )


def _p_value(under_null: np.ndarray, real: float) -> float:
    beyond = np.abs(under_null) >= abs(real) - 1e-12 * max(1.0, abs(real))
    return float(beyond.sum() + 1) / (len(under_null) + 1)
