"""Comparisons of two answers in both orders: a win counts only where both orders say so.

Rules: MT-Bench's pairwise mode (lm-sys/FastChat, llm_judge; Zheng et al. 2023, arXiv:2306.05685), which also serves to
compare two runs on the same prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefine.evaluate.agreement import cohens_kappa
from prefine.evaluate.paired import sign_flip_p
from prefine.evaluate.statistics import share

FIRST, SECOND, TIE, ERROR = "model_1", "model_2", "tie", "error"
_LABELS = (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", TIE))


def parse_label(text: str) -> str:
    """`A`, `B` or `tie` for the first of [[A]], [[B]], [[C]] (in this order) that is in the text, or else `error`."""
    return next((said for label, said in _LABELS if label in text), ERROR)


def winner(said: str, swapped: bool) -> str:
    """`model_1` or `model_2` for A or B; with `swapped`, A is the second model's answer. Ties and errors stay."""
    names = {"A": SECOND, "B": FIRST} if swapped else {"A": FIRST, "B": SECOND}
    return names.get(said, said)


@dataclass(frozen=True)
class Pair:
    """One prompt's two verdicts, each `model_1`, `model_2`, `tie` or `error`; in the second the order was swapped.

    `lengths` are those of both answers in characters, where they are known.
    """

    prompt: str
    first: str
    swapped: str
    lengths: tuple[int, int] | None = None

    @property
    def result(self) -> str:
        """The winner of both orders; anything else is a tie, and `error` where either verdict failed."""
        if ERROR in (self.first, self.swapped):
            return ERROR
        return self.first if self.first == self.swapped else TIE

    def reversed(self) -> Pair:
        """The same pair from the other model's side."""
        other = {FIRST: SECOND, SECOND: FIRST}
        lengths = (self.lengths[1], self.lengths[0]) if self.lengths else None
        return Pair(self.prompt, *(other.get(v, v) for v in (self.first, self.swapped)), lengths=lengths)


VALUE = {FIRST: 1.0, TIE: 0.5, SECOND: 0.0}


def win_rate(pairs: Sequence[Pair], *, seed: int = 0) -> dict[str, Any]:
    """How the first model fares against the second, in percent; rows with an error are left out and counted.

    `win_rate` counts wins alone, `win_rate_adjusted` ties half, with a 95 % bootstrap interval over prompts; `p_value`
    is that of the sign-flip test over prompts (both turns of a prompt stay together). `orders_agree` is the share of
    pairs whose two verdicts are equal, `first_shown_wins` that of decided verdicts for the answer shown first,
    `length_ratio` the mean length of ours over theirs.
    """
    kept = [p for p in pairs if p.result != ERROR]
    n, failed = len(kept), len(pairs) - len(kept)
    results = [p.result for p in kept]
    wins, losses, ties = (results.count(r) for r in (FIRST, SECOND, TIE))
    by_prompt: dict[str, list[float]] = {}
    for pair in kept:
        by_prompt.setdefault(pair.prompt, []).append(VALUE[pair.result])
    values, weights = [float(np.mean(v)) for v in by_prompt.values()], [len(v) for v in by_prompt.values()]
    adjusted = share(values, weights, seed=seed)
    gaps = [w * (v - 0.5) for v, w in zip(values, weights, strict=True)]
    verdicts = [(p.first == FIRST) for p in kept if p.first != TIE] + [
        (p.swapped == SECOND) for p in kept if p.swapped != TIE
    ]
    lengths = [p.lengths for p in kept if p.lengths is not None]
    theirs = sum(b for _, b in lengths)
    won = wins + ties / 2
    return {
        "n_total": len(pairs),
        "n_parsed": n,
        "n_failed": failed,
        "win": wins,
        "loss": losses,
        "tie": ties,
        "win_rate": _percent(wins, n),
        "loss_rate": _percent(losses, n),
        "win_rate_adjusted": _percent(won, n),
        "low": None if adjusted.low is None else 100 * adjusted.low,
        "high": None if adjusted.high is None else 100 * adjusted.high,
        "bounds": [_percent(won, n + failed), _percent(won + failed, n + failed)] if failed else None,
        "p_value": sign_flip_p(gaps, seed=seed),
        "orders_agree": _percent(sum(p.first == p.swapped for p in kept), n),
        "orders_kappa": cohens_kappa([p.first for p in kept], [p.swapped for p in kept]).value,
        "first_shown_wins": _percent(sum(verdicts), len(verdicts)),
        "length_ratio": sum(a for a, _ in lengths) / theirs if theirs else None,
    }


def _percent(part: float, whole: int) -> float | None:
    return 100 * part / whole if whole else None
