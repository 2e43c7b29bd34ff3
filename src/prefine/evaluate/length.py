"""Length of responses."""

from __future__ import annotations

from typing import Literal

from prefine.evaluate.metrics.base import Metric
from prefine.registry import metrics
from prefine.schema import Group


@metrics.register("length")
class Length(Metric):
    """Length of a response; says how long, not how good, so it decides no win rate.

    Formula: number of characters, or of words (runs without white space)
    Defaults: characters; words and tokens are always reported, with or without this metric
    Needs: nothing
    """

    higher_is_better = None

    def __init__(self, unit: Literal["words", "characters"] = "characters") -> None:
        self.name = unit
        self._measure = words if unit == "words" else len

    def score(self, group: Group, response: str) -> float | None:
        """The number of words or characters of `response`."""
        return float(self._measure(response))


def words(text: str) -> int:
    """Number of words: runs of characters without white space."""
    return len(text.split())
