"""What a judge's reply says. Only the reply is read, and a verdict that may be an echo of what was shown is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from prefine.engines.base import Reply
from prefine.label.templates import Filled

PARSER = "1"
"""Part of what a request is keyed by: another reader of replies is another judge."""

V = TypeVar("V")

_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_REFUSAL = re.compile(
    r"(i.?m |i am )?(very |so )?(sorry|afraid|unable to|not able to)\b|as an ai\b"
    r"|i (can.?t|cannot|can not|won.?t|must decline)\b",
    re.IGNORECASE,
)
_OBJECT = re.compile(r'\{\s*"')
LONGEST_RATIONALE = 4000
MOST_FAILURES = 500


class Unread(Exception):
    """A reply without a verdict; `status` says why: `parse_error`, `refused`, `low_mass` ..."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Reading(Generic[V]):
    """A verdict with the reasons given for it; two are equal when their verdicts are."""

    value: V
    rationale: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Wanted(Generic[V]):
    """The verdict that was asked for: the entry `key` of a JSON object, whose value `accept` turns into a verdict.

    `accept` gives None for what is no verdict; it sees JSON values, or the text after words such as `Verdict:`.
    `words` are what may stand before a verdict in plain text, without brackets; none if only JSON can hold one.
    """

    key: str
    accept: Callable[[Any], V | None]
    words: str = ""
    reasons: Callable[[dict[str, Any]], Any] = lambda found: found.get("reasons")


@dataclass(frozen=True)
class _Verdict(Generic[V]):
    """A verdict where it stands in a text, the form it has there, and whether it carries the code."""

    start: int
    form: str
    reading: Reading[V]
    coded: bool = False


def read(reply: Reply, asked: Filled, wanted: Wanted[V]) -> Reading[V]:
    """The last verdict in a reply that carries the question's code.

    Without one, the last verdict in any usual form is taken, unless the reply was cut off or something that was shown
    has the same verdict in the same form: then it may be an echo. Raises `Unread`.
    """
    said = _THOUGHTS.sub("", reply.text)
    found = _verdicts(said, asked.code, wanted)
    coded = [verdict.reading for verdict in found if verdict.coded]
    if coded:
        return coded[-1]
    if found and reply.finish_reason != "length":
        last = found[-1]
        shown = (verdict for text in asked.shown for verdict in _verdicts(text, "", wanted))
        if all((last.form, last.reading) != (verdict.form, verdict.reading) for verdict in shown):
            return last.reading
    raise Unread("refused" if not found and _REFUSAL.match(said.strip()) else "parse_error")


def _verdicts(text: str, code: str, wanted: Wanted[V]) -> list[_Verdict[V]]:
    """All verdicts in a text, in its order."""
    found: list[_Verdict[V]] = []
    objects = list(_objects(text, wanted.key))
    for start, _, value in objects:
        verdict = wanted.accept(value.get(wanted.key))
        if verdict is not None:
            coded = bool(code) and str(value.get("code")).strip() == code
            found.append(_Verdict(start, "json", Reading(verdict, _rationale(wanted.reasons(value))), coded))
    if wanted.words:
        found += _plain(text, code, wanted, [(start, end) for start, end, _ in objects])
    return sorted(found, key=lambda verdict: verdict.start)


def _objects(text: str, key: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The JSON objects in a text that are no part of another one, with where they begin and end.

    Raises `Unread` for a text that only seems to be JSON again and again: somebody wants it to take long.
    """
    decoder, at, failures = json.JSONDecoder(strict=False), 0, 0
    while f'"{key}"' in text and (start := _OBJECT.search(text, at)):
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at, failures = start.start() + 1, failures + 1
            if failures > MOST_FAILURES:
                raise Unread("parse_error") from None
            continue
        yield start.start(), at, value


def _plain(text: str, code: str, wanted: Wanted[V], inside: Sequence[tuple[int, int]]) -> Iterator[_Verdict[V]]:
    """Verdicts outside of JSON objects, or in one that is broken."""
    value = r"[\"'`*]*([^\s\"'`*,;|}\]]{1,12})"
    words = rf"(?:my |the |final |overall ){{0,3}}(?:{wanted.words})[*_ ]{{0,3}}(?:is|=|:)[\s:*]{{0,4}}"
    forms = [
        ("brackets", r"\[\[\s*([^\[\]]{1,12}?)\s*\]\]"),
        ("json", rf'"{wanted.key}"\s*:\s*{value}'),
        ("words", rf"(?im)^[^\w\n]{{0,8}}{words}{value}"),
        ("alone", r"\A\W{0,8}([\w./]{1,8}?)\W{0,8}\Z"),
    ]
    if code:
        forms.append(("coded", rf'"{wanted.key}"\s*:\s*{value}["\'`*]*\s*,\s*"code"\s*:\s*"?{code}\b'))
    for form, pattern in forms:
        for match in re.finditer(pattern, text):
            if any(start <= match.start(1) < end for start, end in inside):
                continue
            verdict = wanted.accept(match[1])
            if verdict is not None:
                before = text[max(0, match.start() - LONGEST_RATIONALE) : match.start()]
                yield _Verdict(match.start(), form, Reading(verdict, _rationale(before)), form == "coded")


def _rationale(found: Any) -> Any:
    if isinstance(found, str):
        return found.strip()[:LONGEST_RATIONALE] or None
    return found


def points(low: int, high: int) -> Callable[[Any], float | None]:
    """Accepts a number between `low` and `high`, also as text, and as a share of `high` (`8/10`)."""

    def accept(found: Any) -> float | None:
        if isinstance(found, bool) or not isinstance(found, (int, float, str)):
            return None
        if isinstance(found, str):
            match = re.fullmatch(rf"(\d+(?:\.\d+)?)(?:/{high})?\.?", found.strip())
            if match is None:
                return None
            found = float(match[1])
        return float(found) if low <= found <= high else None

    return accept


def winner(found: Any) -> float | None:
    """How much of a win a verdict is for the response shown first: A is 1, B is 0, a tie one half."""
    word = found.strip().rstrip(".").casefold() if isinstance(found, str) else None
    return {"a": 1.0, "b": 0.0, "tie": 0.5, "c": 0.5}.get(word) if word is not None else None


WINNER: Wanted[float] = Wanted("winner", winner, "verdict|winner|better answer|answer|decision")


def score(low: int, high: int) -> Wanted[float]:
    """A number of points."""
    return Wanted("score", points(low, high), "score|rating|points|grade")


def ratings(n: int, low: int, high: int, *, may_lack: bool) -> Wanted[tuple[float | None, ...]]:
    """One rating for each of `n` texts, in the order in which they were shown; N/A is None where it `may_lack`.

    Another number of ratings, or texts numbered in another order, is no verdict.
    """
    number = points(low, high)

    def one(found: Any, place: int) -> tuple[float | None] | None:
        if not isinstance(found, dict) or found.get("text") not in (None, place, str(place)):
            return None
        value = found.get("rating")
        if may_lack and isinstance(value, str) and value.strip().casefold() in ("n/a", "na"):
            return (None,)
        accepted = number(value)
        return None if accepted is None else (accepted,)

    def accept(found: Any) -> tuple[float | None, ...] | None:
        if not isinstance(found, list) or len(found) != n:
            return None
        made = [one(item, place) for place, item in enumerate(found, start=1)]
        return None if None in made else tuple(m[0] for m in made if m is not None)

    return Wanted("ratings", accept, reasons=lambda value: [_reasons(item) for item in value["ratings"]])


def _reasons(item: dict[str, Any]) -> str | None:
    """The reasons for one rating, after the types of errors or uses that were named."""
    types = item.get("types")
    named = ", ".join(map(str, types)) if isinstance(types, list) else str(types or "")
    text = str(item.get("reasons") or "").strip()
    return (f"[{named}] {text}".strip() if named else text)[:LONGEST_RATIONALE] or None
