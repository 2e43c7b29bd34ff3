"""Whether a response refuses."""

from __future__ import annotations

import re

from prefine.data.clean.degeneration import flags_of
from prefine.evaluate.metrics.base import Metric
from prefine.registry import metrics
from prefine.schema import Group


@metrics.register("refusal")
class Refusal(Metric):
    """1 for a response that refuses, 0 for another; its mean is the refusal rate. It decides no win rate.

    Formula: a usual phrase of refusal in English, German, French, Spanish or Chinese in at most 60 words, as the
    cleaner `flags` finds it; with pattern, that regular expression anywhere in the response, without regard to case
    Defaults: pattern: null; other languages need one of their own
    Needs: nothing
    """

    def __init__(self, pattern: str | None = None, as_name: str = "refusal") -> None:
        try:
            self._pattern = re.compile(pattern, re.IGNORECASE) if pattern is not None else None
        except re.error as error:
            raise ValueError(f"pattern: not a regular expression: {error}") from error
        self.name = as_name

    def score(self, group: Group, response: str) -> float | None:
        if self._pattern is not None:
            return float(self._pattern.search(response) is not None)
        return float("refusal" in flags_of(response, ""))
