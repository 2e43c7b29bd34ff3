"""Metrics whose value for a corpus follows from sums of counts of its segments, such as BLEU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from prefine.evaluate.corpus_tests import BOOTSTRAPS, SEED, corpus_difference
from prefine.evaluate.metrics.base import Rows
from prefine.evaluate.metrics.references import ReferenceMetric, languages_of, references_of
from prefine.evaluate.statistics import LEVEL, Estimate
from prefine.schema import Group


class CountedMetric(ReferenceMetric):
    """One with counts for each segment; the corpus value is a function of their sums, not a mean over segments.

    Translations of several language pairs are a corpus each, and the value is the mean over the pairs.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], np.ndarray | None] = {}

    def count(self, group: Group, references: list[str], response: str) -> Sequence[float]:
        """The counts of one segment, as many for each."""
        raise TypeError(f"{type(self).__name__} has no method count(group, references, response)")

    def total(self, part: str, counts: np.ndarray) -> float:
        """The corpus value for the (k,) sums of the counts of all segments of a part."""
        raise TypeError(f"{type(self).__name__} has no method total(part, counts)")

    def part(self, group: Group) -> str:
        """The corpus that a prompt belongs to: its pair of languages, `de-en`, or nothing."""
        return "-".join(code for code in languages_of(group) if code)

    def counts_of(self, group: Group, response: str) -> np.ndarray | None:
        """The counts of a response, worked out once; None without a reference."""
        key = (group.id, response)
        if key not in self._known:
            references = references_of(group, self.reference)
            found = self.count(group, references, response) if references else None
            self._known[key] = None if found is None else np.asarray(found, dtype=np.float64)
        return self._known[key]

    def corpus(self, rows: Rows) -> dict[str, Any] | None:
        """The value, its percentile bootstrap interval over prompts, and where there are several parts their values."""
        table = self._table(rows)
        if table is None:
            return None
        parts, counts = table
        score = self._mean_over(parts)
        out = estimate(counts, score).as_dict()
        if len(parts) > 1:
            out["parts"] = dict(zip(parts, self._values(parts, counts.sum(axis=0)), strict=True))
        return out

    def corpus_difference(self, ours: Rows, theirs: Rows) -> dict[str, Any] | None:
        """Paired bootstrap and approximate randomization over prompts that both have answered."""
        answered = [{g.id for g, texts in side if texts} for side in (ours, theirs)]
        both = answered[0] & answered[1]
        tables = [
            self._table(sorted((row for row in side if row[0].id in both), key=lambda row: row[0].id))
            for side in (ours, theirs)
        ]
        first, second = tables
        if first is None or second is None:
            return None
        return corpus_difference(first[1], second[1], self._mean_over(first[0])).as_dict()

    def _table(self, rows: Rows) -> tuple[list[str], np.ndarray] | None:
        """The parts, and (prompts, parts x (1 + k)) sums over a prompt's responses: how many, then their counts.

        Prompts without a reference or a response are left out.
        """
        found = []
        for group, texts in rows:
            counts = [c for t in texts if (c := self.counts_of(group, t)) is not None]
            if counts:
                found.append((self.part(group), np.array([len(counts), *np.sum(counts, axis=0)])))
        if not found:
            return None
        parts, width = sorted({part for part, _ in found}), len(found[0][1])
        table = np.zeros((len(found), len(parts), width))
        for i, (part, counts) in enumerate(found):
            table[i, parts.index(part)] = counts
        return parts, table.reshape(len(found), -1)

    def _values(self, parts: list[str], sums: np.ndarray) -> list[float | None]:
        rows = sums.reshape(len(parts), -1)
        return [self.total(part, row[1:]) if row[0] else None for part, row in zip(parts, rows, strict=True)]

    def _mean_over(self, parts: list[str]) -> Callable[[np.ndarray], float]:
        """The mean over the parts that have a segment, as a function of sums; a resample may miss a part."""

        def score(sums: np.ndarray) -> float:
            values = [v for v in self._values(parts, sums) if v is not None]
            return sum(values) / len(values)

        return score


def estimate(counts: np.ndarray, score: Callable[[np.ndarray], float]) -> Estimate:
    """A corpus metric with the percentile interval of resampled prompts (Koehn 2004).

    counts: (prompts, k); `score` turns (k,) sums into the metric. One prompt gives a value without an interval.
    """
    n, value = len(counts), score(counts.sum(axis=0))
    if n < 2:
        return Estimate(value, None, None, n)
    rng = np.random.default_rng(SEED)
    drawn = [score(np.bincount(rng.integers(0, n, n), minlength=n) @ counts) for _ in range(BOOTSTRAPS)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n, float(np.std(drawn, ddof=1)))
