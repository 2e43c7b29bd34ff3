"""One number per response from the results of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping

Results = Mapping[tuple[int, int], float]
"""For a pair (i, j) with i < j the chance, or the share, that i wins; pairs that are not known are absent."""

RIDGE = 0.1


def bradley_terry(n: int, results: Results, ridge: float = RIDGE, tolerance: float = 1e-12) -> list[float]:
    """ln of the strengths s with P(i wins against j) = s_i / (s_i + s_j), of mean 0.

    Fitted by minorization-maximization (Hunter 2004, The Annals of Statistics 32, equation 3) with soft wins. `ridge`
    tied virtual comparisons of each response with every other keep the strength of one that always wins finite.
    """
    if not ridge > 0:
        raise ValueError(f"ridge must be above 0, not {ridge}")
    if n < 2:
        return [0.0] * n
    wins = [[ridge / 2] * n for _ in range(n)]
    games = [[ridge] * n for _ in range(n)]
    for (i, j), p in results.items():
        wins[i][j] += p
        wins[j][i] += 1 - p
        games[i][j] += 1
        games[j][i] += 1
    total = [math.fsum(w for j, w in enumerate(row) if j != i) for i, row in enumerate(wins)]
    s = [1.0] * n
    for _ in range(100_000):
        new = [total[i] / math.fsum(games[i][j] / (s[i] + s[j]) for j in range(n) if j != i) for i in range(n)]
        scale = math.exp(math.fsum(math.log(x) for x in new) / n)
        new = [x / scale for x in new]
        done = max(abs(math.log(a / b)) for a, b in zip(new, s, strict=True)) < tolerance
        s = new
        if done:
            break
    return [math.log(x) for x in s]


def has_cycle(n: int, results: Results) -> bool:
    """Whether wins go round: a beats b, b beats c ... and the last one beats a. Ties beat nobody."""
    beaten: dict[int, set[int]] = {i: set() for i in range(n)}
    for (i, j), p in results.items():
        if p != 0.5:
            better, worse = (i, j) if p > 0.5 else (j, i)
            beaten[better].add(worse)
    left = set(range(n))
    while left:
        top = {i for i in left if not any(i in beaten[j] for j in left)}
        if not top:
            return True
        left -= top
    return False
