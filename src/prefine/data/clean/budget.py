"""What selections share: how many rows to take, and why another one was left."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prefine.data.clean.base import Cleaner, Decided, Row, drop, keep

BEYOND = "beyond_budget"


class Selection(Cleaner):
    """Keeps some of the training rows; held-out rows pass. A subclass fills `_taken` and `_left` in `fit`."""

    training_only = True

    def __init__(self, size: int | float) -> None:
        if not size > 0 or (isinstance(size, float) and size > 1):
            raise ValueError(f"size must be a number of rows, or a share of them such as 0.1, not {size}")
        self.size = size
        self._taken: dict[str, dict[str, Any]] = {}
        self._left: dict[str, tuple[str, dict[str, Any]]] = {}

    def budget(self, rows: int) -> int:
        """How many of `rows` are taken."""
        return min(rows, self.size if isinstance(self.size, int) else math.floor(self.size * rows + 1e-9))

    def decide(self, row: Row) -> Decided:
        if row.id in self._taken:
            return keep(row, "selected", **self._taken[row.id])
        reason, evidence = self._left.get(row.id, (BEYOND, {}))
        return drop(reason, **evidence)

    def facts(self) -> dict[str, Any]:
        return {"selected": len(self._taken)}


def unit(vectors: np.ndarray) -> np.ndarray:
    """The rows scaled to length 1 in float64; a row of zeros stays."""
    vectors = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1, norms)
