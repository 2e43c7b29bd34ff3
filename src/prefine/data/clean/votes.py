"""Judgements both ways round: the majority decides, and where there is none, nobody is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from prefine.data.clean.base import Verdict
from prefine.schema import Candidate, Comparison, Group, digest

T = TypeVar("T")


def winner(votes: Counter[T]) -> T | None:
    """What most votes are for; None where the first two have as many."""
    first, *others = votes.most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def comparison_id(group: str, number: int, comparison: Comparison) -> str:
    """An id for a comparison, which has none of its own: `number` is its place in the group."""
    return digest({"group": group, "number": number, **asdict(comparison)})[:32]


def settle(group: Group, key: Callable[[Candidate], str]) -> tuple[list[Comparison], dict[str, Verdict]]:
    """The group's comparisons without those that a majority contradicts, and without both sides of even votes.

    `key` tells which responses are the same text. The second value has the dropped comparisons by id.
    """
    text = {c.id: key(c) for c in group.candidates}
    votes: dict[tuple[str, str], Counter[str]] = {}
    for c in group.comparisons:
        if (pair := _pair(c, text)) is not None:
            votes.setdefault(pair, Counter())[text[_better(c)]] += 1
    kept, parts = [], {}
    for number, c in enumerate(group.comparisons):
        pair = _pair(c, text)
        found = votes[pair] if pair is not None else None
        if found is None or winner(found) == text[_better(c)]:
            kept.append(c)
            continue
        mine = found[text[_better(c)]]
        evidence = {"a": c.a, "b": c.b, "outcome": c.outcome, "for": mine, "against": found.total() - mine}
        reason = "contradiction" if winner(found) is None else "outvoted"
        parts[comparison_id(group.id, number, c)] = Verdict(False, reason, evidence)
    return kept, parts


def _pair(c: Comparison, text: dict[str, str]) -> tuple[str, str] | None:
    """The two texts of a decided comparison in one order; None for ties and for what compares nothing."""
    if c.outcome not in ("a", "b") or c.a not in text or c.b not in text or text[c.a] == text[c.b]:
        return None
    first, second = sorted((text[c.a], text[c.b]))
    return first, second


def _better(c: Comparison) -> str:
    return c.a if c.outcome == "a" else c.b
