"""Whether the better response is just the longer one, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from prefine.data.clean.base import Cleaner, Decided, Models, Row, Rows, drop, keep, need_models, order
from prefine.data.clean.rows import Sides, score_of, sides_of
from prefine.errors import PrefineError
from prefine.registry import cleaners
from prefine.schema import Example, Score

FAIR_SHARE = (0.35, 0.65)
"""Shares of longer chosen responses between which nothing is said."""
FAIR_DIFFERENCE = 0.3
"""Difference of mean lengths, in standard deviations, up to which nothing is said."""


@cleaners.register("length")
class Length(Cleaner):
    """Reports the lengths of better and worse responses, and balances them.

    Formula: ratio: max / min of the two lengths <= ratio; rebalance: in each tenth of the gaps as many pairs with the
    better response longer as shorter, chosen by hash; penalize: a new score s - penalty * length / 100
    Defaults: policy report drops nothing; ratio 2; penalty 0.1; length in words, or in tokens of `tokenizer`'s model;
    the new score is called `SCORER-length`; score: the only scorer
    """

    training_only = True

    def __init__(
        self,
        policy: Literal["report", "ratio", "rebalance", "penalize"] = "report",
        ratio: float = 2.0,
        penalty: float = 0.1,
        tokenizer: str | None = None,
        score: str | None = None,
        seed: int = 0,
    ) -> None:
        if not ratio >= 1:
            raise ValueError(f"ratio must be 1 or more, not {ratio}")
        if not penalty > 0:
            raise ValueError(f"penalty must be positive, not {penalty}")
        self.policy, self.ratio, self.penalty = policy, ratio, penalty
        self.tokenizer, self.score, self.seed = tokenizer, score, seed
        # What is evaluated must have the score that the training rows have.
        self.training_only = policy != "penalize"
        self._count: Callable[[str], int] = lambda text: len(text.split())
        self._lengths: list[tuple[int, int, float]] = []
        self._surplus: set[str] = set()

    def prepare(self, models: Models | None) -> None:
        if self.tokenizer is not None:
            self._count = need_models(models, "length.tokenizer").token_counter(self.tokenizer)

    def fit(self, rows: Rows) -> None:
        """Takes some 100 bytes for a pair, and for `rebalance` its id."""
        self._lengths, ids = [], []
        for row in rows:
            sides = sides_of(row, self.score)
            if sides is not None:
                gap = math.nan if sides.gap is None else sides.gap
                self._lengths.append((*self._of(sides), gap))
                ids.append(row.id)
        if self.policy != "report" and self.policy != "penalize" and not ids:
            raise PrefineError("length: no row has a better and a worse response to balance")
        self._surplus = self._rebalanced(ids) if self.policy == "rebalance" else set()

    def decide(self, row: Row) -> Decided:
        if self.policy == "penalize":
            return self._penalized(row)
        sides = sides_of(row, self.score)
        if sides is None:
            return keep(row)
        better, worse = self._of(sides)
        if self.policy == "ratio" and max(better, worse) > self.ratio * max(1, min(better, worse)):
            return drop("length_ratio", chosen=better, rejected=worse)
        if row.id in self._surplus:
            return drop("length_balance", chosen=better, rejected=worse)
        return keep(row)

    def facts(self) -> dict[str, Any]:
        """Lengths of all pairs and of those that stay (as far as sides are known), and a warning."""
        if not self._lengths:
            return {"pairs": 0}
        better, worse, gap = (np.array(column, float) for column in zip(*self._lengths, strict=True))
        longer = float((better > worse).mean())
        deviation = math.sqrt((better.var() + worse.var()) / 2)
        difference = float(better.mean() - worse.mean()) / deviation if deviation else 0.0
        known = ~np.isnan(gap)
        varied = known.sum() > 1 and gap[known].std() > 0 and (better - worse)[known].std() > 0
        out: dict[str, Any] = {
            "pairs": len(better),
            "unit": "words" if self.tokenizer is None else "tokens",
            "chosen": {"mean": round(float(better.mean()), 3), "median": float(np.median(better))},
            "rejected": {"mean": round(float(worse.mean()), 3), "median": float(np.median(worse))},
            "share_chosen_longer": round(longer, 6),
            "share_equal": round(float((better == worse).mean()), 6),
            "difference_in_sd": round(difference, 6),
            "correlation_with_gap": round(float(np.corrcoef(gap[known], (better - worse)[known])[0, 1]), 6)
            if varied
            else None,
        }
        if not FAIR_SHARE[0] <= longer <= FAIR_SHARE[1] or abs(difference) > FAIR_DIFFERENCE:
            out["warning"] = (
                f"the chosen response is the longer one in {longer:.0%} of the pairs (means differ by {difference:.2f} "
                "standard deviations): length may be learned instead; policy rebalance, ratio or penalize mends it"
            )
        return out

    def _of(self, sides: Sides) -> tuple[int, int]:
        return self._count(sides.better.text), self._count(sides.worse.text)

    def _rebalanced(self, ids: list[str]) -> set[str]:
        """The pairs to drop, so that each bin of gaps has as many of either kind; equal lengths are of neither."""
        gaps = np.array([gap for _, _, gap in self._lengths])
        known = gaps[~np.isnan(gaps)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, 11)[1:-1])) if len(known) else np.array([])
        bins: dict[int, tuple[list[str], list[str]]] = {}
        for i, (better, worse, gap) in zip(ids, self._lengths, strict=True):
            if better != worse:
                place = -1 if math.isnan(gap) else int(np.searchsorted(edges, gap, side="right"))
                bins.setdefault(place, ([], []))[better > worse].append(i)
        out: set[str] = set()
        for shorter, longer in bins.values():
            n = min(len(shorter), len(longer))
            for side in (shorter, longer):
                out.update(sorted(side, key=lambda i: order(self.seed, "length", i))[n:])
        return out

    def _penalized(self, row: Row) -> Decided:
        if isinstance(row, Example):
            raise PrefineError("length: policy penalize changes the scores of groups; use it before the pair stage")
        candidates, names = [], set()
        for c in row.candidates:
            value = score_of(c, self.score)
            name = self.score or next((s.scorer for s in c.scores), "score")
            length = self._count(c.text)
            new = None if value is None else value - self.penalty * length / 100
            names.add(f"{name}-length")
            made = Score(f"{name}-length", new, "metric", status="ok" if new is not None else "na")
            candidates.append(replace(c, scores=[*c.scores, made]))
        return keep(replace(row, candidates=candidates), scores=sorted(names))
