"""What pairers share that make pairs by the gap between two scores: their settings, checked in one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from prefine.pair.base import Pairs, Rated
from prefine.pair.ties import capped, ordered
from prefine.schema import Group


class ByGap:
    """Pairs whose scores differ by `min_gap` or more; `seed` is that of hashes, of `max_pairs` the smallest stay."""

    group_size = 2
    needs_scores = True

    def __init__(self, min_gap: float = 0.0, seed: int = 0, max_pairs: int | None = None) -> None:
        if not min_gap >= 0:
            raise ValueError(f"min_gap must be 0 or more, not {min_gap}")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        self.min_gap, self.seed, self.max_pairs = min_gap, seed, max_pairs

    def examples(self, group: Group, found: list[tuple[Rated, Rated]]) -> Pairs:
        """The examples of chosen and rejected responses, or the reason that there is none."""
        return capped(group, found, self.max_pairs, self.seed) if found else ([], "gap_below_min_gap")


class WithTies(ByGap):
    """Pairs of equal scores, too, if `ties` says so."""

    def __init__(
        self,
        min_gap: float = 0.0,
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
        max_pairs: int | None = None,
    ) -> None:
        super().__init__(min_gap, seed, max_pairs)
        if ties != "drop" and min_gap > 0:
            raise ValueError(f"ties have no gap, so that min_gap must be 0 with ties {ties}, not {min_gap}")
        self.ties = ties

    def sided(self, group: Group, both: Iterable[tuple[Rated, Rated]]) -> list[tuple[Rated, Rated]]:
        """Those of the pairs that count, as chosen and rejected."""
        found = (ordered(a, b, self.ties, self.seed, group, self.min_gap) for a, b in both)
        return [pair for pair in found if pair is not None]


class OnePair(WithTies):
    """One pair of a prompt, at most."""

    def __init__(
        self,
        min_gap: float = 0.0,
        seed: int = 0,
        ties: Literal["drop", "random", "shorter", "longer", "keep_soft"] = "drop",
    ) -> None:
        super().__init__(min_gap, seed, ties)
