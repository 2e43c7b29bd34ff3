"""Which texts are near each other: MinHash signatures, bands of them that collide, clusters of what is really near."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from prefine.errors import missing_extra

PERMUTATIONS = 128
SEED = 1
RECALL = 0.99
"""Least probability that two texts exactly as near as the threshold meet in some band."""


class Signer:
    """Signatures by datasketch (its scheme `affine32`), so that any process makes the same ones."""

    def __init__(self) -> None:
        try:
            from datasketch import MinHash
        except ImportError as error:
            raise missing_extra("datasketch", "data") from error
        self._empty: Any = MinHash(PERMUTATIONS, SEED, hashfunc=_hash32, scheme="affine32")

    def sign(self, shingles: set[str]) -> np.ndarray:
        """(128,) uint32: the least hash of the shingles under each permutation."""
        made = self._empty.copy()
        made.update_batch([s.encode("utf-8", "surrogatepass") for s in shingles])
        return made.hashvalues


def _hash32(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


def bands(threshold: float, permutations: int = PERMUTATIONS) -> tuple[int, int]:
    """Bands and rows of a band: the longest rows with which two texts at the threshold still meet.

    Formula: 1 - (1 - t^r)^floor(P / r) >= 0.99, which grows with the similarity; what meets by chance is compared
    exactly, so that a high recall costs time only.
    """
    found = 1
    for rows in range(1, permutations + 1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= RECALL:
            found = rows
    return permutations // found, found


def collisions(signatures: np.ndarray, threshold: float) -> Iterator[np.ndarray]:
    """The sets of rows, as indices, whose signatures agree in some band; `signatures` is (N, 128).

    Sorting one band at a time takes 12 bytes for a row, where an index of hash tables takes kilobytes.
    """
    count, rows = bands(threshold, signatures.shape[1]) if len(signatures) else (0, 0)
    for k in range(count):
        part = np.ascontiguousarray(signatures[:, k * rows : (k + 1) * rows])
        key = part.view(f"V{part.itemsize * rows}").ravel() if len(part) else part
        hashed = _mix(part)
        order = np.argsort(hashed, kind="stable")
        starts = np.flatnonzero(np.diff(hashed[order], prepend=~hashed[order[:1]]) != 0)
        ends = np.append(starts[1:], len(order))
        for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
            yield from _equal(order[start:end], key)


def _mix(part: np.ndarray) -> np.ndarray:
    """One 64-bit number for each row, equal for equal rows."""
    out = np.zeros(len(part), np.uint64)
    for column in part.T:
        out = (out ^ column) * np.uint64(0x9E3779B97F4A7C15)
        out ^= out >> np.uint64(29)
    return out


def _equal(bucket: np.ndarray, key: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of a bucket that are equal, not only their hashes."""
    same: dict[bytes, list[int]] = {}
    for i in bucket:
        same.setdefault(key[i].tobytes(), []).append(int(i))
    yield from (np.array(found) for found in same.values() if len(found) > 1)


class Clusters:
    """Sets that are joined pair by pair (union-find)."""

    def __init__(self, n: int) -> None:
        self.parent = np.arange(n)

    def find(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = int(self.parent[i])
        return i

    def join(self, i: int, j: int) -> None:
        a, b = self.find(i), self.find(j)
        self.parent[max(a, b)] = min(a, b)

    def sets(self) -> list[list[int]]:
        """The clusters with more than one member."""
        found: dict[int, list[int]] = {}
        for i in range(len(self.parent)):
            found.setdefault(self.find(i), []).append(i)
        return [members for members in found.values() if len(members) > 1]


def cluster(buckets: Iterable[np.ndarray], n: int, near: Callable[[int, int], bool]) -> Clusters:
    """Join rows that meet in a bucket and are `near`. What is in one cluster already is not compared again."""
    clusters = Clusters(n)
    for bucket in buckets:
        known: dict[int, list[int]] = {}
        for i in map(int, bucket):
            for members in known.values():
                if clusters.find(members[0]) != clusters.find(i) and any(near(i, j) for j in members):
                    clusters.join(i, members[0])
            known.setdefault(clusters.find(i), []).append(i)
    return clusters


def hashes(shingles: set[str]) -> np.ndarray:
    """The shingles as sorted 64-bit hashes: a set that takes 8 bytes for an element."""
    made = (hashlib.blake2b(s.encode("utf-8", "surrogatepass"), digest_size=8).digest() for s in shingles)
    return np.unique(np.frombuffer(b"".join(made), np.uint64))


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The Jaccard index of two results of `hashes`."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)
