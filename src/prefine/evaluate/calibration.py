"""Whether a model is right as often as it is sure: implicit rewards as probabilities, against the labels of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prefine.evaluate.paired import wilson
from prefine.evaluate.statistics import LEVEL

BINS = 5
"""Of confidence between .5 and 1; since either response may be named first, they are ten between 0 and 1."""
RESAMPLES = 2_000


def calibration(
    groups: Sequence[str], gaps: Sequence[float], beta: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Expected calibration error and reliability curve of P(chosen > rejected) = sigmoid(beta gap).

    groups: a pair's prompt; gaps: log-ratio of the chosen response less that of the rejected one, in nats (Rafailov et
    al. 2023, eq. 6). Confidence is the greater of P and 1 - P; a pair is right where the chosen one is preferred, a tie
    half. The error is the mean distance of share right and mean confidence over the bins, weighted by pairs (Guo et al.
    2017, eq. 3), with a percentile bootstrap over prompts; it is never negative, so small samples make it too large.
    """
    margin = beta * np.asarray(gaps, dtype=np.float64)
    sure = 1 / (1 + np.exp(-np.abs(margin)))
    right = np.where(margin == 0, 0.5, margin > 0).astype(np.float64)
    which = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    place = np.array([names[g] for g in groups])
    # (prompts, bins, 3): pairs, those right, sum of confidence
    table = np.zeros((len(names), BINS, 3))
    np.add.at(table, (place, which), np.stack([np.ones_like(sure), right, sure], axis=1))
    total = table.sum(axis=0)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples).astype(np.float64)
    drawn = _error(np.einsum("rg,gbk->rbk", times, table))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(names) > 1 else (None, None)
    return {
        "beta": beta,
        "ece": {
            "value": float(_error(total[None])[0]),
            "low": None if low is None else float(low),
            "high": None if high is None else float(high),
            "n": len(names),
        },
        "pairs": len(gaps),
        "bins": [_bin(i, row) for i, row in enumerate(total) if row[0]],
    }


def _error(sums: np.ndarray) -> np.ndarray:
    """(tables,) errors of (tables, bins, 3) sums."""
    return np.abs(sums[:, :, 1] - sums[:, :, 2]).sum(axis=1) / sums[:, :, 0].sum(axis=1)


def _bin(index: int, sums: np.ndarray) -> dict[str, Any]:
    n, right, sure = sums
    ends = wilson(right, int(n)) or (None, None)
    return {
        "from": 0.5 + index / (2 * BINS),
        "to": 0.5 + (index + 1) / (2 * BINS),
        "confidence": float(sure / n),
        "right": float(right / n),
        "low": ends[0],
        "high": ends[1],
        "pairs": int(n),
    }
