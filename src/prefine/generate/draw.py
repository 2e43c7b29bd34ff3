"""Which members of a pool answer a prompt: drawn by its id, spread over strata, each as often as its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prefine.engines.chance import unit


def inclusion(weights: Sequence[float], k: int, always: Sequence[bool]) -> list[float]:
    """The chance of each member to be among `k` distinct ones: as its weight, 1 at most; `always` is 1."""
    out = [1.0 if a else 0.0 for a in always]
    free = {i for i, a in enumerate(always) if not a}
    while free:
        left = k - sum(out[i] for i in range(len(out)) if i not in free)
        total = math.fsum(weights[i] for i in free)
        certain = {i for i in free if weights[i] * left >= total * (1 - 1e-12)}
        if not certain:
            for i in free:
                out[i] = weights[i] * left / total
            break
        for i in certain:
            out[i] = 1.0
        free -= certain
    return out


def draw(weights: Sequence[float], strata: Sequence[str], always: Sequence[bool], k: int, *names: object) -> list[int]:
    """Places of `k` distinct members, in ascending order.

    Systematic sampling: members stand in a row, those of a stratum beside each other, each as wide as its chance, and
    every mark at u, u + 1, ... takes the one it falls on. Order and u are hashes of `names`. So no two neighbors of a
    narrow stratum come together, every member is drawn as often as its weight says, and no draw depends on another.
    """
    chances = inclusion(weights, k, always)
    certain = [i for i, c in enumerate(chances) if c >= 1]
    row = sorted(
        (i for i, c in enumerate(chances) if 0 < c < 1),
        key=lambda i: (unit("stratum", strata[i], *names), strata[i], unit("member", i, *names), i),
    )
    sums = [math.fsum(chances[i] for i in row[: j + 1]) for j in range(len(row))]
    if sums:
        # The chances add up to a whole number; rounding must not lose the last mark.
        sums[-1] = float(k - len(certain))
    drawn, mark = [], unit("start", *names)
    for i, top in zip(row, sums, strict=True):
        if mark < top:
            drawn.append(i)
            mark += 1
    return sorted(certain + drawn)
