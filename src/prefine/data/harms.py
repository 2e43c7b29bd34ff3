"""What safety data sets say about a response, apart from how helpful it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefine.data.build import add_score, to_bool
from prefine.data.messages import map_of
from prefine.schema import Candidate

SCORER = "human"


def add_safety(candidate: Candidate, safe: Any, categories: Any, notes: Counter[str]) -> None:
    """The label `is_safe`, the score `human.safe` (1 or 0), and `human.no_CATEGORY` for each category of harm.

    Higher is better in every score, so 1 is the absence of a harm. None of them says that a response is the better
    one: whoever pairs by them names the objective.
    """
    if safe is not None:
        candidate.labels["is_safe"] = to_bool(safe)
        add_score(candidate, SCORER, candidate.labels["is_safe"], notes, "human", "safe")
    for name, present in map_of(categories, "category").items():
        if present is not None:
            word = "_".join("".join(c if c.isalnum() else " " for c in name).lower().split())
            add_score(candidate, SCORER, not to_bool(present), notes, "human", f"no_{word}")
