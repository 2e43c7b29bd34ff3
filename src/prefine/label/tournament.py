"""Who meets whom: a champion by n - 1 duels, Swiss rounds, everybody against everybody. No model in here.

Players are numbers from 0; their order must not come from how they were generated. A tournament hands out rounds of
pairs that can be played at the same time, and takes back for each the share that the first of the pair won (1, 0.5 or
0), or None where nobody could tell.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import combinations

Match = tuple[int, int]


class Tournament(ABC):
    """Keeps the results; subclasses choose the matches."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.results: dict[Match, float | None] = {}
        """The share won by the first of each pair that has met."""

    @staticmethod
    @abstractmethod
    def most_matches(n: int, rounds: int | None = None) -> int:
        """How many matches there will be among `n` players, at most."""

    @abstractmethod
    def next_round(self) -> list[Match]:
        """Pairs that meet now; empty at the end."""

    def record(self, found: Mapping[Match, float | None]) -> None:
        self.results.update(found)

    def scores(self) -> list[float | None]:
        """One number per player; None for one about whom nothing is known."""
        return [_mean([w for w in self.played(i) if w is not None]) for i in range(self.n)]

    def played(self, i: int) -> list[float | None]:
        """The share that player i won of each of its matches."""
        first = [w for (a, _), w in self.results.items() if a == i]
        return first + [None if w is None else 1 - w for (_, b), w in self.results.items() if b == i]


class RoundRobin(Tournament):
    """Everybody against everybody, in one round; the score is the share won."""

    @staticmethod
    def most_matches(n: int, rounds: int | None = None) -> int:
        return n * (n - 1) // 2

    def next_round(self) -> list[Match]:
        return [] if self.results else list(combinations(range(self.n), 2))


class Champion(Tournament):
    """King of the hill: n - 1 matches, each against whoever has won so far.

    A tie, or a match that nobody could decide, keeps the king. Only the winner is known at the end: it has 1 and every
    loser 0. A challenger without a result has no score, nor has a king who never had one.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.king, self.next = 0, 1

    @staticmethod
    def most_matches(n: int, rounds: int | None = None) -> int:
        return max(0, n - 1)

    def next_round(self) -> list[Match]:
        return [(self.king, self.next)] if self.next < self.n else []

    def record(self, found: Mapping[Match, float | None]) -> None:
        super().record(found)
        share = found[self.king, self.next]
        if share is not None and share < 0.5:
            self.king = self.next
        self.next += 1

    def scores(self) -> list[float | None]:
        known = [any(w is not None for w in self.played(i)) for i in range(self.n)]
        return [float(i == self.king) if known[i] else None for i in range(self.n)]


class Swiss(Tournament):
    """Rounds in which players with about as many points meet, never twice; the score is the share won.

    `rounds` is ceil(log2 n) unless given. With an odd number one player rests in each round, and nobody rests twice
    before all have.
    """

    def __init__(self, n: int, rounds: int | None = None) -> None:
        super().__init__(n)
        self.left = swiss_rounds(n, rounds)
        self.rested: dict[int, int] = dict.fromkeys(range(n), 0)

    @staticmethod
    def most_matches(n: int, rounds: int | None = None) -> int:
        return swiss_rounds(n, rounds) * (n // 2)

    def next_round(self) -> list[Match]:
        if not self.left:
            return []
        self.left -= 1
        order = sorted(range(self.n), key=lambda i: (-(self.points(i)), i))
        # The one who rests is the last who has rested least; another one only if nobody else can be paired.
        resting = sorted(order, key=lambda i: (self.rested[i], -order.index(i))) if self.n % 2 else [-1]
        for out in resting:
            pairs = self._pairs([i for i in order if i != out])
            if pairs is not None:
                if out >= 0:
                    self.rested[out] += 1
                return pairs
        return []

    def points(self, i: int) -> float:
        """Won shares; a match that nobody could decide counts for half."""
        return math.fsum(0.5 if w is None else w for w in self.played(i))

    def _pairs(self, players: list[int]) -> list[Match] | None:
        """The first player with the next one it has not met, and so on; None if somebody is left over."""
        if not players:
            return []
        first, *others = players
        for other in others:
            pair = (min(first, other), max(first, other))
            if pair not in self.results:
                rest = self._pairs([p for p in others if p != other])
                if rest is not None:
                    return [pair, *rest]
        return None


def swiss_rounds(n: int, rounds: int | None = None) -> int:
    """How many rounds `n` players have: as many as asked for, but nobody meets anybody twice."""
    most = n - 1 if n % 2 == 0 else n
    return 0 if n < 2 else min(rounds or math.ceil(math.log2(n)), most)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
