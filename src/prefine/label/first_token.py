"""What the first token of a reply says before it is drawn: probabilities of labels, and of points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prefine.label.verdicts import Unread

ALTERNATIVES = 20
"""How many of the first token's alternatives are asked for; servers give no more."""

_WORD_STARTS = "\u2581\u0120"
"""What tokenizers write for the space before a word."""


def probabilities(first_token: dict[str, float], labels: Sequence[str]) -> list[float]:
    """The probability of each label as the first thing said.

    Alternatives that spell it with or without white space around are summed; a longer label is also begun by its
    beginnings. Labels that are not among the alternatives have 0.
    """
    totals = [0.0] * len(labels)
    for text, logp in first_token.items():
        spelled = text.strip().strip(_WORD_STARTS)
        for i, label in enumerate(labels):
            begins = label.startswith(spelled) and spelled not in labels
            if spelled and (spelled == label or begins):
                totals[i] += math.exp(logp)
                break
    return totals


def checked(found: Sequence[float], min_mass: float) -> list[float]:
    """The probabilities themselves, if together they are at least `min_mass` and above 0; else raises `Unread`."""
    mass = math.fsum(found)
    if not (mass >= min_mass and mass > 0):
        raise Unread("low_mass")
    return list(found)


def expected(first_token: dict[str, float], values: Sequence[int], min_mass: float) -> tuple[float, float]:
    """sum v p(v) / sum p(v) over the points v, and sum p(v).

    G-Eval, Liu et al. 2023 (arXiv:2303.16634), equation 1, over the first token. Raises `Unread` below `min_mass`.
    """
    p = checked(probabilities(first_token, [str(v) for v in values]), min_mass)
    mass = math.fsum(p)
    return math.fsum(v * q for v, q in zip(values, p, strict=True)) / mass, mass
