"""AlpacaEval: preferences from first-token log-probs, the coin that decides positions, and win rates.

Rules: AlpacaEval 2 (tatsu-lab/alpaca_eval; Dubois et al. 2024, arXiv:2404.04475). A preference lies in [1, 2]; minus 1
it is the probability that the candidate (output_2) wins over the baseline (output_1).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefine.evaluate.benchmarks.reading import Row, stem
from prefine.evaluate.statistics import share

FIRST, SECOND = "m", "M"
"""How the judge names the answer that is shown first, and the other."""

DRAW = 1.5


def preference_from_logprobs(top_logprobs: Mapping[str, float]) -> float | None:
    """2 - P(m), in [1, 2]; 1 means that the answer shown first wins. None where neither name is among the tokens.

    top_logprobs: log-probs of the first token's candidates. P(m) is normalized over the two names alone; an absent one
    has probability 0.
    """
    first, second = top_logprobs.get(FIRST, -math.inf), top_logprobs.get(SECOND, -math.inf)
    if first == second == -math.inf:
        return None
    return 2 - 1 / (1 + math.exp(min(second - first, 700.0)))


def is_switched(instruction: str) -> bool:
    """Whether the candidate is shown first: a coin that the instruction decides, the same in every run."""
    coin = random.Random("is_switched_outputs" + instruction + "0")
    return coin.choices([False, True], k=1)[0]


def unswitched(preference: float, switched: bool) -> float:
    """The preference with the candidate as the second, whichever was shown first."""
    return 3 - preference if switched else preference


@dataclass(frozen=True)
class Annotation:
    """One judged instruction. `preference` is None where the verdict could not be read; lengths are in characters.

    `row` is the position among the model's annotations, from 0; `index` the instruction's number where the file has it.
    """

    preference: float | None
    row: int
    index: int | None = None
    len_1: int | None = None
    len_2: int | None = None
    instruction: str | None = None


@dataclass
class Judged:
    """All annotations of one model, with what the file says of the baseline and the judge."""

    model: str
    baseline: str | None
    judge: str | None
    annotations: list[Annotation] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    differences: list[float] = field(default_factory=list)
    """|stored preference - the one of the stored log-probs|, for the rows that have both."""
    coins: Counter[bool] = field(default_factory=Counter)
    """Rows whose log-probs tell the position: whether the coin gives the same."""
    first: list[float] = field(default_factory=list)
    """P(the answer shown first wins), for the rows with log-probs."""


def read(rows: Iterable[Row]) -> list[Judged]:
    """The models of the rows, in their order. A row's model is its `generator_2`, or else the name of its file."""
    models: dict[tuple[str, str | None], Judged] = {}
    for row in rows:
        name, judge = str(row.get("generator_2") or stem(row.file)), row.get("annotator")
        judged = models.setdefault((name, judge), Judged(name, row.get("generator_1"), judge))
        if judged.baseline != row.get("generator_1"):
            row.wrong(f"generator_1: '{row.get('generator_1')}', but '{judged.baseline}' in earlier rows of {name}")
        _add(judged, row)
    return list(models.values())


def _add(judged: Judged, row: Row) -> None:
    preference, reason = _preference(row)
    if reason:
        judged.failed[reason] += 1
    _check_logprobs(judged, row, preference)
    judged.annotations.append(
        Annotation(
            preference,
            row.whole_at("row") if "row" in row else len(judged.annotations),
            row.whole_at("index") if "index" in row else None,
            *(_length(row, side) for side in (1, 2)),
            instruction=row.get("instruction"),
        )
    )


def _length(row: Row, side: int) -> int | None:
    text = row.get(f"output_{side}")
    if isinstance(text, str):
        return len(text)
    return row.whole_at(f"len_{side}") if f"len_{side}" in row else None


def _preference(row: Row) -> tuple[float | None, str]:
    """The preference, or None and why: the stored one, or that of the stored log-probs where none is stored."""
    if "preference" in row:
        value = row.number_at("preference")
        if value is None:
            return None, "no preference"
        value = DRAW if value == 0 else value
        return (value, "") if 1 <= value <= 2 else (None, "preference outside [1, 2]")
    if "output_1" in row and row.get("output_1") == row.get("output_2"):
        return DRAW, ""
    logprobs = first_token(row)
    if logprobs is None:
        row.need("preference", "raw_completion", "top_logprobs")
        return None, "no log-probs"
    shown = preference_from_logprobs(logprobs)
    if shown is None:
        return None, "neither answer named"
    stored = row.get("is_switched_outputs")
    return unswitched(shown, is_switched(row.need("instruction")) if stored is None else bool(stored)), ""


def first_token(row: Row) -> dict[str, float] | None:
    """Log-probs of the first token's candidates: `top_logprobs`, or those in `raw_completion` as the API gave them."""
    plain = row.get("top_logprobs")
    if plain is None:
        content = ((row.get("raw_completion") or {}).get("logprobs") or {}).get("content") or []
        plain = content[0].get("top_logprobs") if content else None
    if isinstance(plain, list):
        plain = {t["token"]: t["logprob"] for t in plain}
    if plain is not None and not isinstance(plain, dict):
        row.wrong("top_logprobs: tokens with their log-probs are wanted")
    return plain


def _check_logprobs(judged: Judged, row: Row, preference: float | None) -> None:
    """Compare the stored preference with the stored log-probs, and the position that this implies with the coin."""
    logprobs = first_token(row)
    shown = preference_from_logprobs(logprobs) if logprobs else None
    if preference is None or shown is None:
        return
    judged.first.append(2 - shown)
    if "preference" not in row:
        return
    gaps = {switched: abs(preference - unswitched(shown, switched)) for switched in (False, True)}
    nearer = min(gaps, key=gaps.__getitem__)
    judged.differences.append(gaps[nearer])
    if isinstance(row.get("instruction"), str) and abs(gaps[True] - gaps[False]) > 1e-3:
        judged.coins[is_switched(row.get("instruction")) == nearer] += 1


def win_rates(preferences: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """The leaderboard's columns in percent, and a 95 % bootstrap interval over instructions.

    preferences: those that were read, in [1, 2]. `discrete_win_rate` counts wins and half of the draws.
    """
    p = np.asarray(preferences, dtype=np.float64) - 1
    n = len(p)
    if not n:
        return dict.fromkeys(("win_rate", "standard_error", "low", "high", "discrete_win_rate")) | {
            "n_wins": 0, "n_wins_base": 0, "n_draws": 0
        }  # fmt: skip
    wins, draws = int((p > 0.5).sum()), int((p == 0.5).sum())
    interval = share(p.tolist(), seed=seed)
    return {
        "win_rate": 100 * float(p.mean()),
        "standard_error": 100 * float(p.std(ddof=1) / math.sqrt(n)) if n > 1 else None,
        "low": None if interval.low is None else 100 * interval.low,
        "high": None if interval.high is None else 100 * interval.high,
        "n_wins": wins,
        "n_wins_base": n - wins - draws,
        "n_draws": draws,
        "discrete_win_rate": 100 * (wins + draws / 2) / n,
    }


def bounds(preferences: Sequence[float], missing: int) -> tuple[float, float] | None:
    """The win rate in percent if every missing verdict were a loss, and if every one were a win."""
    total = len(preferences) + missing
    won = sum(preferences) - len(preferences)
    return (100 * won / total, 100 * (won + missing) / total) if total else None
