"""Several training seeds: their spread is a thing of its own, never mixed with the noise of the prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prefine.evaluate.statistics import LEVEL, RESAMPLES, Estimate, mean
from prefine.student_t import t_quantile

FEWEST = 3
"""Below this many seeds a spread is shown, but no interval."""


@dataclass(frozen=True)
class OverSeeds:
    """The mean of `seeds` training runs and their standard deviation.

    low, high: what other seeds would give on the same prompts, by Student's t (a bootstrap over three to five seeds is
    far too narrow), with the bootstrap's own ends beside it. `prompts`: the mean over seeds per prompt with its
    bootstrap interval, which says what other prompts would give with these seeds.
    """

    value: float
    sd: float | None
    low: float | None
    high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    seeds: int
    prompts: Estimate

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def over_seeds(
    values: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> OverSeeds:
    """The estimate from (seeds, prompts) scores: a row is one training run; all have the same prompts in one order."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"scores of shape (seeds, prompts) are wanted, not {table.shape}")
    runs = table.mean(axis=1)
    k, value = len(runs), float(runs.mean())
    sd = float(runs.std(ddof=1)) if k > 1 else None
    ends: list[float | None] = [None] * 4
    if k >= FEWEST and sd is not None:
        half = t_quantile((1 + level) / 2, k - 1) * sd / math.sqrt(k)
        drawn = mean(runs.tolist(), resamples=resamples, level=level, seed=seed)
        ends = [value - half, value + half, drawn.low, drawn.high]
    prompts = mean(table.mean(axis=0).tolist(), resamples=resamples, level=level, seed=seed)
    return OverSeeds(value, sd, *ends, seeds=k, prompts=prompts)
