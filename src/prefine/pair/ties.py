"""What becomes of two responses with the same score."""

from __future__ import annotations

from prefine.pair.base import Pairs, Rated, draw, pair, wide_enough
from prefine.schema import Group


def ordered(a: Rated, b: Rated, ties: str, seed: int, group: Group, min_gap: float = 0.0) -> tuple[Rated, Rated] | None:
    """The two responses as chosen and rejected; None where they make no pair. Which is `a` does not matter.

    Of equal scores with `ties`: drop makes no pair; random lets a hash decide; shorter and longer decide by words, then
    by hash; keep_soft is random, too, for objectives that turn the scores into a label, which is 1/2 for equal ones.
    """
    if a.text == b.text:
        return None
    first, second = sorted((a, b), key=lambda r: (-r.score, r.candidate.id))
    if first.score > second.score:
        return (first, second) if wide_enough(first.score, second.score, min_gap) else None
    if ties == "drop":
        return None
    first, second = sorted((a, b), key=lambda r: draw(seed, "tie", group.id, r.candidate.id))
    words = [len(r.candidate.text.split()) for r in (first, second)]
    swapped = (ties == "shorter" and words[1] < words[0]) or (ties == "longer" and words[1] > words[0])
    return (second, first) if swapped else (first, second)


def capped(group: Group, found: list[tuple[Rated, Rated]], most: int | None, seed: int) -> Pairs:
    """Examples of the pairs in the order of their ids; beyond `most`, those with the smallest hash."""
    if most is not None and len(found) > most:
        found = sorted(found, key=lambda p: draw(seed, "pair", group.id, p[0].candidate.id, p[1].candidate.id))[:most]
    return sorted((pair(group, a, b) for a, b in found), key=lambda e: e.id), None
