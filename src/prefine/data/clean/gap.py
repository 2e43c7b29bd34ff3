"""Pairs by the gap of their scores: small gaps are noise, huge ones trivial or mislabeled."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefine.data.clean.base import Cleaner, Decided, Row, Rows, drop, keep
from prefine.data.clean.rows import gap_of, source_of
from prefine.errors import PrefineError
from prefine.registry import cleaners

BINS = 10


@cleaners.register("gap")
class Gap(Cleaner):
    """Rows whose gap between the best score and the worst is in a range: given, between quantiles, or near the mean.

    Where comparisons say which response is better, the gap is from that one to the worse, and may be below 0.
    Quantiles, mean and deviation are those of the training rows of each source, since scales differ. Where several
    settings are given, all of them must be met.

    Formula: min <= g <= max; q_lo <= g <= q_hi; gaussian: the share of the rows with the smallest |g - mean| / sd
    Paper: beta-DPO, Wu et al. 2024 (arXiv:2407.08639), which filters batches by the same Gaussian; here
    before training, and without a draw
    Defaults: min 0, which only drops pairs whose scores contradict them; score: the only scorer of a group (examples
    have their own scores); by_source true; without a score a row is dropped
    """

    training_only = True

    def __init__(
        self,
        min: float | None = 0.0,
        max: float | None = None,
        quantiles: list[float] | None = None,
        gaussian: float | None = None,
        score: str | None = None,
        by_source: bool = True,
    ) -> None:
        if min is not None and max is not None and min > max:
            raise ValueError(f"min must not be above max ({max}), but is {min}")
        if quantiles is not None and not (len(quantiles) == 2 and 0 <= quantiles[0] < quantiles[1] <= 1):
            raise ValueError("quantiles must be two shares in order, as in [0.1, 0.9]")
        if gaussian is not None and not 0 < gaussian <= 1:
            raise ValueError(f"gaussian must be above 0 and at most 1, not {gaussian}")
        self.min, self.max, self.quantiles, self.gaussian = min, max, quantiles, gaussian
        self.score, self.by_source = score, by_source
        self._gaps: dict[str, np.ndarray] = {}
        self._limits: dict[str, list[tuple[str, float, float]]] = {}

    def fit(self, rows: Rows) -> None:
        """Takes 8 bytes for a row."""
        found: dict[str, list[float]] = {}
        n = 0
        for row in rows:
            n += 1
            gap = gap_of(row, self.score)
            if gap is not None:
                found.setdefault(self._source(row), []).append(gap)
        if n and not found:
            what = f"scores by '{self.score}'" if self.score else "scores of one scorer"
            raise PrefineError(f"gap: no row has two responses with {what}; label them first, or name one with score")
        self._gaps = {source: np.sort(np.array(gaps)) for source, gaps in found.items()}
        self._limits = {source: self._ranges(gaps) for source, gaps in self._gaps.items()}

    def decide(self, row: Row) -> Decided:
        gap = gap_of(row, self.score)
        if gap is None:
            return drop("no_gap")
        for what, low, high in self._limits[self._source(row)]:
            if not low <= gap <= high:
                reason = "gap_too_small" if gap < low else "gap_too_large"
                return drop(reason, gap=gap, rule=what, low=_finite(low), high=_finite(high))
        return keep(row, gap=gap)

    def facts(self) -> dict[str, Any]:
        """For each source the range of gaps that stays, mean and deviation, and histograms of all and of those kept."""
        return {"gaps": {source: self._curve(source) for source in sorted(self._gaps)}}

    def _source(self, row: Row) -> str:
        return source_of(row) if self.by_source else ""

    def _ranges(self, gaps: np.ndarray) -> list[tuple[str, float, float]]:
        out = []
        if self.min is not None or self.max is not None:
            low, high = -np.inf if self.min is None else self.min, np.inf if self.max is None else self.max
            out.append(("min-max", low, high))
        if self.quantiles is not None:
            low, high = np.quantile(gaps, self.quantiles)
            out.append(("quantiles", float(low), float(high)))
        if self.gaussian is not None:
            distance = np.sort(np.abs(gaps - gaps.mean()))
            reach = distance[max(0, int(np.ceil(self.gaussian * len(gaps))) - 1)]
            # A tie in the last bit is inside: mean plus and minus the reach are rounded.
            slack = 1e-12 * max(1.0, float(np.abs(gaps).max()))
            out.append(("gaussian", float(gaps.mean() - reach - slack), float(gaps.mean() + reach + slack)))
        return out

    def _curve(self, source: str) -> dict[str, Any]:
        gaps = self._gaps[source]
        inside = np.ones(len(gaps), bool)
        for _, low, high in self._limits[source]:
            inside &= (low <= gaps) & (gaps <= high)
        counts, edges = np.histogram(gaps, BINS)
        kept, _ = np.histogram(gaps[inside], edges)
        return {
            "rows": len(gaps),
            "kept": int(inside.sum()),
            "mean": round(float(gaps.mean()), 6),
            "sd": round(float(gaps.std()), 6),
            "ranges": [{"rule": what, "low": _finite(a), "high": _finite(b)} for what, a, b in self._limits[source]],
            "edges": [round(float(e), 6) for e in edges],
            "counts": counts.tolist(),
            "counts_kept": kept.tolist(),
        }


def _finite(value: float) -> float | None:
    return round(float(value), 9) if np.isfinite(value) else None
