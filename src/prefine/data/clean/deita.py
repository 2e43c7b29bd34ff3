"""DEITA: the best rows that are not alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefine.data.clean.base import Models, Rows
from prefine.data.clean.budget import BEYOND, Selection
from prefine.data.clean.measures import measure
from prefine.data.clean.vectors import vectors_of
from prefine.registry import cleaners

DIGITS = 9
"""Similarities are rounded to so many decimals, so that the order of additions decides nothing."""


@cleaners.register("deita")
class Deita(Selection):
    """Rows from the best to the worst, each taken if it is not too similar to one that was taken before.

    The rows go through one by one, in blocks only for speed: the block's size changes nothing. For examples, quality
    margin makes it a selection of pairs.

    Formula: score = complexity * quality, descending, ties by id; taken if max cos(e, e_taken) <= threshold
    Paper: DEITA, Liu et al. 2023 (arXiv:2312.15685), whose code also compares with rejected rows of a
    batch and gives rows without a score 3.0; here they are dropped
    Defaults: complexity words, quality score, threshold 0.9; each a scorer's name, or words, constraints, margin, one;
    the vector is the mean of `model`'s last hidden states, or the column `embedding` of the Parquet file `embeddings`
    Needs: size, a number of rows or a share of them (0.1); model or embeddings
    """

    def __init__(
        self,
        size: int | float,
        threshold: float = 0.9,
        complexity: str = "words",
        quality: str = "score",
        model: str | None = None,
        embeddings: str | None = None,
        block: int = 1024,
    ) -> None:
        super().__init__(size)
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold must be a cosine, between -1 and 1, not {threshold}")
        if (model is None) == (embeddings is None):
            raise ValueError("deita needs either model or embeddings")
        if block < 1:
            raise ValueError(f"block must be 1 or more, not {block}")
        self.threshold, self.complexity, self.quality = threshold, complexity, quality
        self.model, self.embeddings, self.block = model, embeddings, block
        self._models: Models | None = None

    def prepare(self, models: Models | None) -> None:
        self._models = models

    def fit(self, rows: Rows) -> None:
        """Takes 8 bytes for a number of a vector, for each training row."""
        ids, vectors = vectors_of(rows, self.model, self.embeddings, self._models)
        scores, self._left, self._taken = {}, {}, {}
        for row in rows:
            c, q = measure(row, self.complexity), measure(row, self.quality)
            if c is None or q is None:
                self._left[row.id] = ("no_complexity" if c is None else "no_quality", {})
            else:
                scores[row.id] = c * q
        place = {i: k for k, i in enumerate(ids)}
        ranked = sorted(scores, key=lambda i: (-scores[i], i))
        told = select(vectors[[place[i] for i in ranked]], self.threshold, self.budget(len(ids)), self.block)
        for i, found in zip(ranked, told, strict=True):
            if found is None:
                self._left[i] = (BEYOND, {"score": scores[i]})
            elif found[0] < 0:
                self._taken[i] = {"score": scores[i]}
            else:
                evidence: dict[str, Any] = {"similar_to": ranked[found[0]], "cosine": found[1], "score": scores[i]}
                self._left[i] = ("too_similar", evidence)


def select(vectors: np.ndarray, threshold: float, budget: int, block: int) -> list[tuple[int, float] | None]:
    """The fate of each row of `vectors` (N, width), which come best first: (-1, 0) taken, None beyond the budget.

    Otherwise the index of the taken row that it is most similar to, and the cosine, which is above `threshold`.
    """
    out: list[tuple[int, float] | None] = []
    taken: list[int] = []
    for start in range(0, len(vectors), block):
        part = vectors[start : start + block]
        known = len(taken)
        before = np.round(part @ vectors[taken].T, DIGITS) if known else np.zeros((len(part), 0))
        within = np.round(part @ part.T, DIGITS)
        fresh = np.zeros(len(part), int)
        for k in range(len(part)):
            if len(taken) == budget:
                out.append(None)
                continue
            similar = np.concatenate([before[k], within[k, fresh[: len(taken) - known]]])
            best = int(similar.argmax()) if len(similar) else -1
            if best >= 0 and similar[best] > threshold:
                out.append((taken[best], float(similar[best])))
            else:
                out.append((-1, 0.0))
                fresh[len(taken) - known] = k
                taken.append(start + k)
    return out
