"""A random choice of rows: the baseline of every selection."""

from __future__ import annotations

from prefine.data.clean.base import Rows, order
from prefine.data.clean.budget import Selection
from prefine.registry import cleaners


@cleaners.register("random")
class RandomRows(Selection):
    """Rows by the hash of their ids: 10 % are part of 20 %, whatever the order of the file.

    Formula: the rows with the smallest sha256(seed, id)
    Needs: size, a number of rows or a share of them (0.1)
    """

    def __init__(self, size: int | float, seed: int = 0) -> None:
        super().__init__(size)
        self.seed = seed

    def fit(self, rows: Rows) -> None:
        """Takes a row's id."""
        ids = sorted((row.id for row in rows.prompts()), key=lambda i: order(self.seed, "random", i))
        self._taken = {i: {} for i in ids[: self.budget(len(ids))]}
