"""Draws that follow from names alone: the same in any process, for any order of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


def unit(*names: object) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(_hash(names)[:8], "big") / 2**64


def integer(*names: object) -> int:
    """A number from 0 to 2^31 - 1, which every server takes as a seed."""
    return int.from_bytes(_hash(names)[:4], "big") >> 1


def sample(items: Sequence[T], n: int, *names: object) -> list[T]:
    """`n` of the items (all if there are fewer) in random order; each place has the same chance."""
    order = sorted(range(len(items)), key=lambda i: (_hash((*names, i)), i))
    return [items[i] for i in order[:n]]


def weighted(items: Sequence[T], weights: Sequence[float], *names: object) -> T:
    """One of the items, with chances as their weights."""
    sums = list(accumulate(weights))
    aim = unit(*names) * sums[-1]
    return next(item for item, top in zip(items, sums, strict=True) if aim < top)


def _hash(names: Sequence[object]) -> bytes:
    return hashlib.sha256("\0".join(map(str, names)).encode("utf-8", "surrogatepass")).digest()
