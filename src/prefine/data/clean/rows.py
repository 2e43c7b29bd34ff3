"""Groups and examples seen alike: prompt, responses, which side a response is on, gap and source."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from prefine.data.clean.base import Row
from prefine.schema import Candidate, Example, Group, Message

CHOSEN, REJECTED, NEITHER = "chosen", "rejected", "response"


@dataclass(frozen=True)
class Response:
    """A response of a row with its side: chosen, rejected, or neither where nothing says which is better."""

    id: str
    text: str
    side: str
    score: float | None
    finished: bool


def group_of(row: Row) -> str:
    """The id of the prompt that a row belongs to."""
    return row.id if isinstance(row, Group) else row.group_id


def messages_of(row: Row) -> list[Message]:
    return row.messages if isinstance(row, Group) else row.prompt


def prompt_text(row: Row) -> str:
    """All turns of the prompt but system messages, one per line."""
    return "\n".join(m["content"] for m in messages_of(row) if m["role"] != "system")


def user_turns(row: Row) -> list[str]:
    return [m["content"] for m in messages_of(row) if m["role"] == "user"]


def source_of(row: Row) -> str:
    """The data set a row is from; examples do not know theirs."""
    return row.source.get("dataset", "") if isinstance(row, Group) else ""


def text_of(completion: list[Message]) -> str:
    return "\n\n".join(m["content"] for m in completion if m["role"] == "assistant")


def responses_of(row: Row, scorer: str | None = None) -> list[Response]:
    """The responses of a row with sides and scores; of an example, the first is chosen and all others are rejected.

    In a group a response is chosen if it was preferred more often than not or, without comparisons, if it has the
    highest score; a single response is chosen, since that is what it will be trained as.
    """
    if isinstance(row, Example):
        texts = [text_of(r) for r in row.responses]
        ids = row.candidate_ids or [f"{row.id}/{k}" for k in range(len(texts))]
        known = len(row.scores) == len(texts)
        return [
            Response(
                ids[k],
                text,
                _side(row, k),
                row.scores[k] if known else None,
                row.finished[k] if len(row.finished) == len(texts) else True,
            )
            for k, text in enumerate(texts)
        ]
    scores = {c.id: score_of(c, scorer) for c in row.candidates}
    sides = _sides(row, scores)
    return [Response(c.id, c.text, sides[c.id], scores[c.id], c.finish_reason != "length") for c in row.candidates]


def _side(row: Example, k: int) -> str:
    if len(row.labels) == len(row.responses):
        return CHOSEN if row.labels[k] > 0.5 else REJECTED
    return CHOSEN if k == 0 else REJECTED


def _sides(group: Group, scores: dict[str, float | None]) -> dict[str, str]:
    wins: Counter[str] = Counter()
    for c in group.comparisons:
        if c.outcome in ("a", "b"):
            better, worse = (c.a, c.b) if c.outcome == "a" else (c.b, c.a)
            wins[better] += 1
            wins[worse] -= 1
    if wins:
        return {i: CHOSEN if wins[i] > 0 else REJECTED if wins[i] < 0 else NEITHER for i in scores}
    if len(scores) == 1:
        return dict.fromkeys(scores, CHOSEN)
    known = [s for s in scores.values() if s is not None]
    if not known or min(known) == max(known):
        return dict.fromkeys(scores, NEITHER)
    return {i: NEITHER if s is None else CHOSEN if s == max(known) else REJECTED for i, s in scores.items()}


def score_of(candidate: Candidate, scorer: str | None) -> float | None:
    """The latest finite value by `scorer` (or `scorer.aspect`); without a name that of the only scorer there is."""
    named = {s.scorer for s in candidate.scores if s.aspect is None} if scorer is None else set()
    wanted = scorer if scorer is not None else next(iter(named)) if len(named) == 1 else None
    for s in reversed(candidate.scores):
        if wanted in (s.scorer if s.aspect is None else None, f"{s.scorer}.{s.aspect}") and wanted is not None:
            return s.value if s.value is not None and math.isfinite(s.value) else None
    return None


@dataclass(frozen=True)
class Sides:
    """A better and a worse response of a row, and by how much; `gap` is None without scores."""

    better: Response
    worse: Response
    gap: float | None


def sides_of(row: Row, scorer: str | None = None) -> Sides | None:
    """The best response of a row against the worst, or None where nothing tells them apart."""
    found = sorted(responses_of(row, scorer), key=lambda r: r.id)
    chosen = [r for r in found if r.side == CHOSEN]
    rejected = [r for r in found if r.side == REJECTED]
    if not chosen or not rejected:
        return None
    better = max(chosen, key=lambda r: -math.inf if r.score is None else r.score)
    worse = min(rejected, key=lambda r: math.inf if r.score is None else r.score)
    known = better.score is not None and worse.score is not None
    return Sides(better, worse, better.score - worse.score if known else None)  # type: ignore[operator]


def gap_of(row: Row, scorer: str | None = None) -> float | None:
    """By how much the better response's score exceeds the worse one's: below 0 where a comparison contradicts it.

    Where nothing tells them apart, the range of the scores; None with fewer than two.
    """
    sides = sides_of(row, scorer)
    if sides is not None:
        return sides.gap
    known = [r.score for r in responses_of(row, scorer) if r.score is not None]
    return max(known) - min(known) if len(known) > 1 else None
