"""Rows that cover all others: a baseline for diversity alone."""

from __future__ import annotations

import numpy as np

from prefine.data.clean.base import Models, Rows, order
from prefine.data.clean.budget import Selection
from prefine.data.clean.vectors import vectors_of
from prefine.registry import cleaners

DIGITS = 9


@cleaners.register("k_center")
class KCenter(Selection):
    """Greedy k-center: time and again the row that is farthest from all that were taken.

    Formula: first the smallest hash of the ids, then argmax over rows of min over taken of 1 - cos; ties by id
    Paper: Sener and Savarese 2018 (arXiv:1708.00489), algorithm 1
    Defaults: the vector is the mean of `model`'s last hidden states, or the column `embedding` of the file `embeddings`
    Needs: size, a number of rows or a share of them (0.1); model or embeddings
    """

    def __init__(
        self,
        size: int | float,
        model: str | None = None,
        embeddings: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(size)
        if (model is None) == (embeddings is None):
            raise ValueError("k_center needs either model or embeddings")
        self.model, self.embeddings, self.seed = model, embeddings, seed
        self._models: Models | None = None

    def prepare(self, models: Models | None) -> None:
        self._models = models

    def fit(self, rows: Rows) -> None:
        """Takes 8 bytes for a number of a vector, for each training row; time grows with rows times budget."""
        ids, vectors = vectors_of(rows, self.model, self.embeddings, self._models)
        by_id = np.argsort(np.array(ids, object)) if ids else []
        ids, vectors = [ids[k] for k in by_id], vectors[by_id]
        self._taken = {}
        at = min(range(len(ids)), key=lambda k: order(self.seed, "center", ids[k]), default=0)
        distance = np.full(len(ids), np.inf)
        for _ in range(self.budget(len(ids))):
            reach = float(distance[at])
            self._taken[ids[at]] = {"distance": round(reach, DIGITS)} if np.isfinite(reach) else {}
            distance = np.minimum(distance, np.round(1 - vectors @ vectors[at], DIGITS))
            distance[at] = -1
            at = int(distance.argmax())
