"""How far two judges, or one judge in two orders, agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prefine.evaluate.statistics import RESAMPLES


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa with its percentile interval over items, and the plain share of equal verdicts."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    equal: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def cohens_kappa(
    ours: Sequence[Hashable],
    theirs: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Kappa:
    """(equal - chance) / (1 - chance) of two judges' verdicts on the same items (Cohen 1960); 1 is full agreement.

    None where chance alone would make all verdicts equal. Resamples in which that happens are left out.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"both judges must rate the same items, not {len(ours)} and {len(theirs)}")
    pairs = Counter(zip(ours, theirs, strict=True))
    n = pairs.total()
    if not n:
        return Kappa(None, None, None, 0, None)
    cells = list(pairs)
    counts = np.array([[pairs[c] for c in cells]], dtype=np.float64)
    value = _kappa(cells, counts)[0]
    equal = sum(pairs[c] for c in cells if c[0] == c[1]) / n
    if np.isnan(value):
        return Kappa(None, None, None, n, equal)
    drawn = np.random.default_rng(seed).multinomial(n, counts[0] / n, resamples).astype(np.float64)
    found = _kappa(cells, drawn)
    tail = (1 - level) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return Kappa(float(value), float(low), float(high), n, equal)


def _kappa(cells: list[tuple[Hashable, Hashable]], counts: np.ndarray) -> np.ndarray:
    """(tables,) kappas of tables (tables, cells) of counts; NaN where chance agreement is complete."""
    share = counts / counts.sum(axis=1, keepdims=True)
    equal = share @ np.array([float(a == b) for a, b in cells])
    chance = np.zeros(len(counts))
    for verdict in {v for cell in cells for v in cell}:
        ours = share @ np.array([float(a == verdict) for a, _ in cells])
        chance += ours * (share @ np.array([float(b == verdict) for _, b in cells]))
    return np.where(chance < 1 - 1e-12, (equal - chance) / np.maximum(1 - chance, 1e-12), np.nan)
