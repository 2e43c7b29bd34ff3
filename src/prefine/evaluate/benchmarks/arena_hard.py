"""Arena-Hard: verdict labels, the two games of a prompt, and the votes that they count.

Rules: Arena-Hard-Auto v0.1 and v2.0 (lmarena/arena-hard-auto; Li et al. 2024, arXiv:2406.11939). In game 0 answer A is
the baseline's and B the candidate's; game 1 is swapped. Outcomes are the candidate's: 1 won, 0 lost, 1/2 tied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from prefine.evaluate.benchmarks.reading import Row, stem

Version = Literal["v0.1", "v2.0"]

STRONG = 3
"""Votes of a `>>`; `>` and `=` count one."""

_PATTERNS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))

_V01 = {"A>>B": (1.0, STRONG), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, STRONG)}
_V20 = _V01 | {"B=A": (0.5, 1), "A<B": (0.0, 1), "A<<B": (0.0, STRONG), "B<A": (1.0, 1), "B<<A": (1.0, STRONG)}
LABELS: dict[Version, dict[str, tuple[float, int]]] = {"v0.1": _V01, "v2.0": _V20}
"""By version: what a label says of A, and its votes. Anything else is no verdict."""

BASELINES = {
    "arena-hard-v0.1": "gpt-4-0314",
    "hard_prompt": "o3-mini-2025-01-31",
    "coding": "o3-mini-2025-01-31",
    "math": "o3-mini-2025-01-31",
    "creative_writing": "gemini-2.0-flash-001",
}
"""The baseline of each category; v0.1 is one category."""


def parse_verdict(text: str, version: Version) -> tuple[str | None, bool]:
    """The label in a judge's text, and whether the judge is to be asked to go on because it gave none.

    The text is upper-cased; `[[...]]` is looked for first, then `[...]`. v2.0: the last label wins. v0.1: exactly one
    distinct label counts; several different ones are no verdict, at once.
    """
    text = text.upper()
    found = next((m for p in _PATTERNS if (m := [label for label in p.findall(text) if label])), [])
    if not found:
        return None, version == "v0.1"
    if version == "v0.1" and len(set(found)) > 1:
        return None, False
    return (found[-1] if found[-1] in LABELS[version] else None), False


@dataclass(frozen=True)
class Vote:
    """The outcome of one game for the candidate, and how many votes it counts; `game` is 0 or 1."""

    game: int
    outcome: float
    weight: int


@dataclass(frozen=True)
class Judgment:
    """One prompt: the votes of its games, and the games without a verdict."""

    question: str
    model: str
    baseline: str
    judge: str
    category: str
    votes: tuple[Vote, ...]
    failed: int

    @property
    def score(self) -> float:
        """The mean vote."""
        return sum(v.weight * v.outcome for v in self.votes) / self.weight

    @property
    def weight(self) -> int:
        return sum(v.weight for v in self.votes)


def vote(label: str | None, game: int, version: Version) -> Vote | None:
    """What a game's label says for the candidate, None where it is no verdict of this version."""
    said = LABELS[version].get(label or "")
    if said is None:
        return None
    outcome = said[0] if game == 1 else 1 - said[0]
    return Vote(game, outcome, said[1])


def version_of(row: Row) -> Version:
    """v2.0 numbers its prompts by `uid`, v0.1 by `question_id`."""
    return "v2.0" if "uid" in row and "question_id" not in row else "v0.1"


def read(rows: Iterable[Row], version: Version, baseline: str | None = None) -> list[Judgment]:
    """The judgments of one version; of several for one prompt, model and judge the last stands.

    `baseline` replaces the one that the row or its category names. v0.1 drops a game without a verdict alone, v2.0 the
    whole prompt.
    """
    out: dict[tuple[str, str, str, str], Judgment] = {}
    for row in rows:
        judgment = _judgment(row, version, baseline)
        key = (judgment.judge, judgment.category, judgment.model, judgment.question)
        out.pop(key, None)
        out[key] = judgment
    return list(out.values())


def _judgment(row: Row, version: Version, baseline: str | None) -> Judgment:
    games = row.need("games")
    if not isinstance(games, list) or not 1 <= len(games) <= 2:
        row.wrong("games: a list of two games is wanted")
    category = "arena-hard-v0.1" if version == "v0.1" else str(row.need("category"))
    model = str(row.get("model") or stem(row.file))
    # v0.1 may be judged in one order only; v2.0 wants both.
    expected = len(games) if version == "v0.1" else 2
    votes = [v for i, g in enumerate(games) if (v := vote(_label(row, g, i, version), i, version)) is not None]
    failed = expected - len(votes)
    if version == "v2.0" and failed:
        votes = []
    return Judgment(
        str(row.need("question_id" if version == "v0.1" else "uid")),
        model.split("/")[-1],
        baseline or row.get("baseline") or BASELINES.get(category) or _no_baseline(row, category),
        str(row.get("judge") or ""),
        category,
        tuple(votes),
        failed,
    )


def _no_baseline(row: Row, category: str) -> str:
    row.wrong(f"no key 'baseline', and category '{category}' has none of its own; name it with --baseline")


def _label(row: Row, game: Any, number: int, version: Version) -> str | None:
    """A game's stored label, or the one in its text where none is stored."""
    if game is None:
        return None
    if not isinstance(game, dict):
        row.wrong(f"games.{number}: an object with 'score' or 'judgment' is wanted")
    if "score" in game:
        if game["score"] is not None and not isinstance(game["score"], str):
            row.wrong(f"games.{number}.score: a label such as 'A>B' is wanted, not {str(game['score'])[:40]!r}")
        return game["score"]
    text = game.get("judgment")
    text = text.get("answer") if isinstance(text, dict) else text
    if not isinstance(text, str):
        row.wrong(f"games.{number}: no key 'score' and no text in 'judgment'")
    return parse_verdict(text, version)[0]
