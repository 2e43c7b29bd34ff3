"""The rows with the highest score."""

from __future__ import annotations

from prefine.data.clean.base import Rows
from prefine.data.clean.budget import Selection
from prefine.data.clean.measures import measure
from prefine.registry import cleaners


@cleaners.register("top_score")
class TopScore(Selection):
    """The rows with the highest measure: a scorer's best value, the margin, or what can be counted.

    Formula: the rows with the largest `score`; ties by id; rows without one are dropped
    Defaults: score: score, the only scorer's; or margin, words, constraints, SCORER, SCORER.ASPECT
    Needs: size, a number of rows or a share of them (0.1)
    """

    def __init__(self, size: int | float, score: str = "score") -> None:
        super().__init__(size)
        self.score = score

    def fit(self, rows: Rows) -> None:
        """Takes a row's id and a number."""
        found = {row.id: measure(row, self.score) for row in rows}
        known = sorted((-value, i) for i, value in found.items() if value is not None)
        budget = self.budget(len(found))
        self._taken = {i: {"score": -value} for value, i in known[:budget]}
        self._left = {i: ("no_score", {"score": self.score}) for i, value in found.items() if value is None}
        self._left |= {i: ("beyond_budget", {"score": -value}) for value, i in known[budget:]}
