"""How good and how demanding a row is: by scores that labelers gave, or by what can be counted."""

from __future__ import annotations

import math
import re

from prefine.data.clean.base import Row
from prefine.data.clean.rows import gap_of, responses_of, score_of, user_turns
from prefine.data.clean.text import words
from prefine.schema import Group

COUNTED = ("words", "constraints", "margin", "one")
"""Measures that need no scorer."""

_CONSTRAINT = re.compile(
    r"\b(at least|at most|exactly|no more than|less than|more than|must|should|only|without|avoid|include|in the "
    r"style of|as a|step by step|format|bullet|table|json|words?|sentences?|paragraphs?|first|then|finally)\b|\d+|[?;]",
    re.IGNORECASE,
)


def measure(row: Row, name: str) -> float | None:
    """A number for a row, or None where it has none.

    words: words of the user turns. constraints: phrases that ask for something in particular, numbers and questions.
    margin: the gap between best and worst score. one: 1. Anything else is a scorer (`scorer` or `scorer.aspect`): its
    best value in a group; for an example, whose scores have no names, `score` is that of the first response.
    """
    if name == "words":
        return float(sum(len(words(turn)) for turn in user_turns(row)))
    if name == "constraints":
        return float(sum(len(_CONSTRAINT.findall(turn)) for turn in user_turns(row)))
    if name == "one":
        return 1.0
    if name == "margin":
        return gap_of(row)
    if not isinstance(row, Group):
        return responses_of(row)[0].score if name == "score" else None
    found = [score_of(c, None if name == "score" else name) for c in row.candidates]
    known = [value for value in found if value is not None and math.isfinite(value)]
    return max(known, default=None)
