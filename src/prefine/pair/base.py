"""What all pairers share: the protocol, the responses of a group from best to worst, and how an example is made."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from prefine.schema import Candidate, Example, Group, digest

Pairs = tuple[list[Example], str | None]
"""The examples of a group, and why there are none."""

TextKey = tuple[tuple[str, str], ...]


class Pairer(Protocol):
    """Turns one group into examples. The result must not depend on the order of the candidates."""

    group_size: int | None
    """Responses per example, as objectives declare it: 1, 2, or None for lists of any length."""
    needs_scores: bool
    """A pairer that reads scores by name itself has False here, and the names as its attribute `ratings`."""

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        """Examples from a group with one score per candidate (None: it has none); without any, the reason."""
        ...


@dataclass(frozen=True)
class Rated:
    """A candidate with its score."""

    candidate: Candidate
    score: float

    @property
    def text(self) -> TextKey:
        return text_key(self.candidate)


def text_key(candidate: Candidate) -> TextKey:
    """What makes two responses the same text: roles and words, whatever the white space."""
    return tuple((m["role"], " ".join(m["content"].split())) for m in candidate.completion)


def draw(seed: int, *parts: str) -> str:
    """A hash to choose by: the smallest wins. It depends on content alone, never on the order of rows."""
    return hashlib.sha256("\0".join([str(seed), *parts]).encode("utf-8", "surrogatepass")).hexdigest()


def rated(group: Group, scores: Sequence[float | None], seed: int = 0, *, collapse: bool = True) -> list[Rated]:
    """The candidates that have text and a score, best first; ties stand in the order of a hash.

    With `collapse`, candidates with the same text become one with the mean of their scores.
    """
    found = [
        Rated(c, s)
        for c, s in zip(group.candidates, scores, strict=True)
        if s is not None and math.isfinite(s) and c.text.strip()
    ]
    if collapse:
        same: dict[TextKey, list[Rated]] = {}
        for item in found:
            same.setdefault(item.text, []).append(item)
        found = [_merge(items) for items in same.values()]
    return sorted(found, key=lambda r: (-r.score, draw(seed, group.id, r.candidate.id), r.candidate.id))


def _merge(items: list[Rated]) -> Rated:
    if len(items) == 1:
        return items[0]
    first = min(items, key=lambda r: r.candidate.id)
    return Rated(first.candidate, math.fsum(r.score for r in items) / len(items))


def why_none(items: list[Rated], group: Group, *, ties: bool = False) -> str | None:
    """The reason why rated candidates cannot make a pair at all, or None when they can; `ties`: equal scores may."""
    if not group.candidates:
        return "no_responses"
    if len({text_key(c) for c in group.candidates}) < 2:
        return "fewer_than_2_distinct_responses"
    if len({r.text for r in items}) < 2:
        return "fewer_than_2_scored_responses"
    return "all_scores_equal" if not ties and items[0].score == items[-1].score else None


def wide_enough(better: float, worse: float, min_gap: float) -> bool:
    """Whether a gap makes a pair: never a tie, and at least `min_gap`."""
    return better > worse and better - worse >= min_gap


def example(group: Group, ordered: Sequence[Candidate], scores: Sequence[float] = ()) -> Example:
    """An example with these candidates, best first; its id depends on their ids alone."""
    ids = [c.id for c in ordered]
    return Example(
        id=digest({"group": group.id, "responses": ids})[:32],
        group_id=group.id,
        prompt=group.messages,
        responses=[c.completion for c in ordered],
        candidate_ids=ids,
        scores=list(scores),
        split=group.split,
        finished=[c.finish_reason != "length" for c in ordered] if any(c.finish_reason for c in ordered) else [],
        teacher_logps=_of_all([_teacher_logp(c) for c in ordered]),
    )


def _teacher_logp(candidate: Candidate) -> float | None:
    """The latest log-prob per token that a labeler gave."""
    return next((s.value for s in reversed(candidate.scores) if s.kind == "avg_logp"), None)


def _of_all(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None] if None not in values else []


def pair(group: Group, chosen: Rated, rejected: Rated) -> Example:
    """The example of one pair."""
    return example(group, [chosen.candidate, rejected.candidate], [chosen.score, rejected.score])
