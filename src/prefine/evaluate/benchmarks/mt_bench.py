"""MT-Bench: ratings of single answers from 1 to 10, by turn and category.

Rules: MT-Bench (lm-sys/FastChat, llm_judge; Zheng et al. 2023, arXiv:2306.05685): 80 questions of two turns, eight
categories of ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefine.evaluate.benchmarks.reading import Row, stem
from prefine.evaluate.statistics import Estimate, mean

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
"""In the order of the questions 81 to 160, ten each."""
REFERENCE_GUIDED = ("math", "reasoning", "coding")
"""Categories whose judge sees reference answers."""
FAILURE = -1
LOWEST, HIGHEST = 1, 10
TIE_MARGIN = 0.1
"""Single ratings this close are a tie when they are turned into a comparison."""
ERROR_TEXT = "$ERROR$"
"""What FastChat stores where the judge's API failed."""

_PATTERNS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))


def parse_rating(text: str) -> float:
    """The first `[[n]]`, or else the first `[n]`, or else -1."""
    match = next((m for p in _PATTERNS if (m := p.search(text))), None)
    return float(match.group(1)) if match else FAILURE


def category_of(question: int | str, named: Mapping[str, str]) -> str | None:
    """The category that a question file names, or that of the official question's number."""
    if (found := named.get(str(question))) is not None:
        return found
    place = int(question) - 81 if str(question).isdigit() else -1
    return CATEGORIES[place // 10] if 0 <= place < 80 else None


@dataclass(frozen=True)
class Rating:
    """One graded answer. `score` is None where the judge gave none, or none between 1 and 10; `reason` says which."""

    question: str
    model: str
    turn: int
    judge: str
    template: str
    score: float | None
    reason: str = ""


def read(rows: Iterable[Row]) -> tuple[list[Rating], int]:
    """The ratings, and how many were left out because the same answer was rated again with the same template.

    Of several ratings of one (question, model, turn, judge, template) the last valid one stands, or else the last.
    """
    kept: dict[tuple[str, str, int, str, str], Rating] = {}
    again = 0
    for row in rows:
        rating = _rating(row)
        key = (rating.question, rating.model, rating.turn, rating.judge, rating.template)
        earlier = kept.get(key)
        again += earlier is not None
        if earlier is None or rating.score is not None or earlier.score is None:
            kept[key] = rating
    return list(kept.values()), again


def judge_of(row: Row) -> tuple[str, str]:
    """The judge's model and template; FastChat stores both as a list."""
    judge = row.get("judge")
    if isinstance(judge, list):
        return str(judge[0]) if judge else "", str(judge[1]) if len(judge) > 1 else ""
    return str(judge or ""), ""


def _rating(row: Row) -> Rating:
    judge, template = judge_of(row)
    score, reason = _score(row)
    turn = row.whole_at("turn") if "turn" in row else 1
    if turn not in (1, 2):
        row.wrong(f"turn: {turn} is neither 1 nor 2")
    model = str(row.get("model") or stem(row.file))
    return Rating(str(row.need("question_id")), model, turn, judge, template, score, reason)


def _score(row: Row) -> tuple[float | None, str]:
    """The stored score, or that of the judge's text where none is stored; None and why where it is no rating."""
    text = row.get("judgment")
    stored = row.number_at("score")
    if stored is None and "score" not in row:
        if not isinstance(text, str):
            row.need("score", "judgment")
        stored = parse_rating(str(text))
    if stored is None or stored == FAILURE:
        return None, "judge failed" if text == ERROR_TEXT else "no rating"
    if not LOWEST <= stored <= HIGHEST:
        return None, f"outside {LOWEST} to {HIGHEST}"
    return float(stored), ""


def average(ratings: Iterable[Rating], *, seed: int = 0) -> Estimate:
    """The mean over ratings that are valid, with a bootstrap interval over questions: a question keeps its turns."""
    by_question: dict[str, list[float]] = {}
    for rating in ratings:
        if rating.score is not None:
            by_question.setdefault(rating.question, []).append(rating.score)
    values = list(by_question.values())
    return mean([float(np.mean(v)) for v in values], [len(v) for v in values], seed=seed)


def scores(ratings: list[Rating], named: Mapping[str, str], *, seed: int = 0) -> dict[str, Any]:
    """One model's means over turn 1, turn 2 and all ratings, and over all ratings of each category."""
    whole = average(ratings, seed=seed)
    by_category: dict[str, list[Rating]] = {}
    for rating in ratings:
        if (category := category_of(rating.question, named)) is not None:
            by_category.setdefault(category, []).append(rating)
    order = [*CATEGORIES, *sorted(set(by_category) - set(CATEGORIES))]
    turns = [average([r for r in ratings if r.turn == t], seed=seed) for t in (1, 2)]
    return {
        "score": whole.value,
        "low": whole.low,
        "high": whole.high,
        "turn_1": turns[0].value,
        "turn_2": turns[1].value,
        "turns": {f"turn_{t}": e.as_dict() for t, e in enumerate(turns, 1)},
        "categories": {c: average(by_category[c], seed=seed).as_dict() for c in order if c in by_category},
    }


def as_winner(ours: float, theirs: float) -> str:
    """The comparison that two single ratings imply: `model_1`, `model_2`, or `tie` within the margin."""
    if abs(ours - theirs) <= TIE_MARGIN + 1e-9:
        return "tie"
    return "model_1" if ours > theirs else "model_2"
