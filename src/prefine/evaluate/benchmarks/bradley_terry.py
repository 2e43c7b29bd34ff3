"""Scores of models that were all compared with one baseline, with bootstrap intervals: Arena-Hard v0.1 and v2.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefine.evaluate.benchmarks.arena_hard import Judgment

ANCHOR = 1000.0
"""The baseline's rating, in every round of the bootstrap, too."""
SCALE = 400.0
ROUNDS = 1000
ROUNDS_V20 = 100
SURE = 1e-9
"""Shares this close to 0 or 1 are moved off it, where the rating would be infinite."""
DRAWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Battles:
    """Single votes: a `>>` is three of them. model: (n,) numbers into `models`; outcome: (n,) 0, 1/2 or 1."""

    models: list[str]
    model: np.ndarray
    outcome: np.ndarray


@dataclass(frozen=True)
class Score:
    """In percent: the score, its interval, and the plain mean vote (the same as the score for v0.1)."""

    score: float
    low: float | None
    high: float | None
    mean: float


def battles(judgments: Sequence[Judgment]) -> Battles:
    """Every vote of every judgment, models in the order of their names."""
    models = sorted({j.model for j in judgments if j.votes})
    number = {m: i for i, m in enumerate(models)}
    votes = [(number[j.model], v.outcome) for j in judgments for v in j.votes for _ in range(v.weight)]
    return Battles(models, np.array([m for m, _ in votes], dtype=int), np.array([o for _, o in votes], dtype=float))


def ratings(shares: np.ndarray) -> np.ndarray:
    """Bradley-Terry ratings of models that only met the baseline, whose rating is 1000.

    With ties as half a win and half a loss, the maximum likelihood of logit P = (rating - 1000) ln 10 / 400 is at the
    mean vote itself, for each model alone; no regression is needed.
    """
    p = np.clip(shares, SURE, 1 - SURE)
    return ANCHOR + SCALE * np.log10(p / (1 - p))


def score_of(rating: np.ndarray | float) -> np.ndarray:
    """100 / (1 + 10^((1000 - rating) / 400)): the expected win rate against the baseline in percent."""
    return 100 / (1 + 10 ** ((ANCHOR - np.asarray(rating, dtype=np.float64)) / SCALE))


def scores_v01(found: Battles, *, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Score]:
    """By model: the mean vote, and 2.5 to 97.5 % of the ratings of `rounds` resamples of all battles."""
    mean = 100 * _shares(found, np.arange(len(found.model))[None])[0]
    drawn = interval(bootstrap_ratings(found, rounds=rounds, seed=seed)).tolist() if rounds else None
    low, high = drawn or ([None] * len(mean),) * 2
    # The rating of a model that won or lost every vote is infinite; its score is not.
    return {m: Score(float(mean[i]), low[i], high[i], float(mean[i])) for i, m in enumerate(found.models)}


def bootstrap_ratings(found: Battles, *, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
    """(rounds, models) ratings of resamples of all battles; NaN where a model was not drawn."""
    rng = np.random.default_rng(seed)
    n = len(found.model)
    at_once = max(1, DRAWS_AT_ONCE // n)
    shares = [_shares(found, rng.integers(0, n, (min(at_once, rounds - k), n))) for k in range(0, rounds, at_once)]
    return ratings(np.concatenate(shares))


def _shares(found: Battles, drawn: np.ndarray) -> np.ndarray:
    """(rounds, models) mean votes of the battles numbered in `drawn`, (rounds, n)."""
    k = len(found.models)
    cell = (found.model[drawn] + k * np.arange(len(drawn))[:, None]).ravel()
    votes = np.bincount(cell, minlength=k * len(drawn))
    won = np.bincount(cell, weights=found.outcome[drawn].ravel(), minlength=k * len(drawn))
    with np.errstate(invalid="ignore"):
        return (won / votes).reshape(len(drawn), k)


def interval(rounds: np.ndarray, *, level: float = 0.95) -> np.ndarray:
    """(2, models) scores in percent at the percentiles of the ratings in `rounds`."""
    tail = 50 * (1 - level)
    return score_of(np.nanpercentile(rounds, [tail, 100 - tail], axis=0))


def scores_v20(found: Battles, *, rounds: int = ROUNDS_V20, seed: int = 0) -> dict[str, Score]:
    """By model: the mean of the means of `rounds` resamples of its own votes, and their 5 and 95 %."""
    rng = np.random.default_rng(seed)
    out = {}
    for i, model in enumerate(found.models):
        own = found.outcome[found.model == i]
        mean = 100 * float(own.mean())
        means = 100 * own[rng.integers(0, len(own), (rounds, len(own)))].mean(axis=1)
        low, high = np.percentile(means, [5, 95]).tolist() if rounds else (None, None)
        out[model] = Score(float(means.mean()) if rounds else mean, low, high, mean)
    return out
