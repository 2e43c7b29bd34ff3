"""The length-controlled win rate of AlpacaEval 2: what the win rate would be if both answers were equally long.

Formula: logit P(candidate wins on x) = a tanh(dL / sd(dL)) + b difficulty(x) + c, fitted for each model by itself; the
win rate is its mean over x with a = 0 (Dubois et al. 2024, arXiv:2404.04475). The same baseline asked to be verbose
and to be concise joins the fit with a small weight and without c, which ties a and b to the baseline's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefine.errors import PrefineError, missing_extra
from prefine.evaluate.benchmarks.frozen import Frozen
from prefine.evaluate.benchmarks.l1_logistic import fit_many, sigmoid

CS = np.logspace(-4, 4, 10)
"""Strengths among which cross-validation chooses; a higher C means less shrinkage."""
FOLDS = 5
GAMED_WEIGHT = 0.2 / 2
"""Weight of a row of the verbose or concise baseline: 0.2, over two of them."""
SEED = 123
"""liblinear draws the order of coordinates and stops early, so its seed is part of the published numbers."""
RESAMPLES_AT_ONCE = 100


@dataclass(frozen=True)
class Design:
    """All rows of a fit: features (n, 3), preferences in [0, 1], weights; the first `gamed` rows are the baseline's.

    The model's own rows are kept apart, too: their length difference, difficulty, and preference (NaN where the verdict
    could not be read: such a row counts in sd(dL) and in the final mean, not in the fit).
    """

    gamed: np.ndarray
    gamed_preference: np.ndarray
    delta: np.ndarray
    difficulty: np.ndarray
    preference: np.ndarray

    @property
    def judged(self) -> np.ndarray:
        return ~np.isnan(self.preference)

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features (gamed rows first), preferences and weights."""
        own = np.column_stack([length_feature(self.delta), self.difficulty, np.ones(len(self.delta))])[self.judged]
        x = np.concatenate([self.gamed, own])
        p = np.concatenate([self.gamed_preference, self.preference[self.judged]])
        return x, p, np.repeat([GAMED_WEIGHT, 1.0], [len(self.gamed), len(own)])


@dataclass(frozen=True)
class LengthControlled:
    """A fitted model. `win_rate` and `standard_error` are in percent; the error is that of the mean alone."""

    length: float
    difficulty: float
    bias: float
    c: float
    win_rate: float
    standard_error: float | None


def length_feature(delta: np.ndarray) -> np.ndarray:
    """tanh(dL / sd(dL)), sd with n - 1 and dL not centered; 0 where all lengths are equal."""
    spread = float(np.std(delta, ddof=1)) if len(delta) > 1 else 0.0
    return np.tanh(delta / spread) if spread else np.tanh(np.sign(delta))


def design(
    preferences: Sequence[float | None],
    len_1: Sequence[int],
    len_2: Sequence[int],
    instructions: Sequence[int],
    frozen: Frozen,
    *,
    regularize: bool = True,
) -> Design:
    """The rows of one model. Preferences lie in [1, 2]; `instructions` are the numbers that difficulty is known by."""
    known = len(frozen.difficulty)
    if wrong := [i for i in instructions if not 0 <= i < known]:
        raise PrefineError(f"instruction number {wrong[0]}: difficulty is known for 0 to {known - 1}")
    return Design(
        frozen.features if regularize else np.empty((0, 3)),
        frozen.preference if regularize else np.empty(0),
        np.asarray(len_1, dtype=np.float64) - np.asarray(len_2, dtype=np.float64),
        frozen.difficulty[np.asarray(instructions, dtype=int)],
        np.array([np.nan if p is None else p - 1 for p in preferences], dtype=np.float64),
    )


def fit(rows: Design, c: float | None = None) -> LengthControlled:
    """Fit one model with strength `c`, or with the one that cross-validation chooses."""
    x, p, w = rows.rows()
    if len(p) == len(rows.gamed):
        raise PrefineError("no verdict of this model could be read")
    c = choose_c(x, p, w) if c is None else c
    a, b, bias = _coefficients(x, p, w, c).tolist()
    predicted = sigmoid(b * rows.difficulty + bias)
    error = 100 * float(predicted.std(ddof=1) / np.sqrt(len(predicted))) if len(predicted) > 1 else None
    return LengthControlled(a, b, bias, float(c), 100 * float(predicted.mean()), error)


def baseline_itself() -> LengthControlled:
    """The baseline against itself: 50 by construction."""
    return LengthControlled(0.0, 0.0, 0.0, 0.0, 50.0, 0.0)


def choose_c(x: np.ndarray, p: np.ndarray, w: np.ndarray) -> float:
    """The C with the best mean log likelihood over five folds; the smallest one where several are best.

    Row g of n is in fold (n - 1 - g) mod 5, which is how scikit-learn's GroupKFold splits groups of one row.
    """
    if len(p) < FOLDS:
        raise PrefineError(f"{len(p)} verdicts are too few to choose C by cross-validation; pin it with --C")
    fold = (len(p) - 1 - np.arange(len(p))) % FOLDS
    scores = np.empty((FOLDS, len(CS)))
    for k in range(FOLDS):
        kept, held = fold != k, fold == k
        for i, c in enumerate(CS):
            q = np.clip(sigmoid(x[held] @ _coefficients(x[kept], p[kept], w[kept], c)), 1e-15, 1 - 1e-15)
            scores[k, i] = np.mean(w[held] * (p[held] * np.log(q) + (1 - p[held]) * np.log(1 - q)))
    return float(CS[np.argmax(scores.mean(axis=0))])


def _coefficients(x: np.ndarray, p: np.ndarray, w: np.ndarray, c: float) -> np.ndarray:
    """L1-penalized logistic regression without intercept; a preference p is a win of weight p and a loss of 1 - p."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise missing_extra("scikit-learn", "eval") from None
    model = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=float(c), fit_intercept=False, random_state=SEED)
    won = np.repeat([1, 0], len(p))
    model.fit(np.concatenate([x, x]), won, sample_weight=np.concatenate([w * p, w * (1 - p)]))
    return model.coef_[0].astype(float)


def interval(
    rows: Design, fitted: LengthControlled, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval in percent: the model's rows are resampled, and the model is fitted again with its C.

    Unlike `standard_error` it holds the noise of the coefficients. Refits are exact (liblinear stops early, which moves
    a number by about .01 points).
    """
    rng = np.random.default_rng(seed)
    tail = 50 * (1 - level)
    values = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        drawn = rng.integers(0, len(rows.delta), (min(RESAMPLES_AT_ONCE, resamples - start), len(rows.delta)))
        values.append(_refit(rows, fitted, drawn))
    low, high = np.percentile(np.concatenate(values), [tail, 100 - tail])
    return float(low), float(high)


def _refit(rows: Design, fitted: LengthControlled, drawn: np.ndarray) -> np.ndarray:
    """(resamples,) length-controlled win rates in percent of the model's rows numbered in `drawn`."""
    resamples, n = drawn.shape
    delta, preference, gamma = rows.delta[drawn], rows.preference[drawn], rows.difficulty[drawn]
    spread = delta.std(axis=1, ddof=1, keepdims=True)
    length = np.tanh(delta / np.where(spread > 0, spread, np.inf))
    gamed = np.broadcast_to(rows.gamed.T[:, None, :], (3, resamples, len(rows.gamed)))
    x = np.concatenate([gamed, np.stack([length, gamma, np.ones_like(gamma)])], axis=2)
    p = np.concatenate([np.broadcast_to(rows.gamed_preference, (resamples, len(rows.gamed))), preference], axis=1)
    w = np.where(np.isnan(p), 0.0, np.repeat([GAMED_WEIGHT, 1.0], [len(rows.gamed), n]))
    start = np.array([fitted.length, fitted.difficulty, fitted.bias])
    _, b, bias = fit_many(x, np.nan_to_num(p), w, fitted.c, start).T
    return 100 * sigmoid(b[:, None] * gamma + bias[:, None]).mean(axis=1)


def head_to_head(model: LengthControlled, other: LengthControlled, frozen: Frozen) -> float:
    """The predicted length-controlled win rate in percent of `model` against `other`, over all instructions."""
    b, bias = model.difficulty - other.difficulty, model.bias - other.bias
    return 100 * float(sigmoid(b * frozen.difficulty + bias).mean())


def extreme(win_rate: float, controlled: float) -> bool:
    """Whether the control moved the win rate (both in percent) so far that the fit may have failed.

    Below both 3/4 of it and 10 points less, or above both a quarter of the way to 100 and 10 points more.
    """
    low = min(win_rate * 3 / 4, win_rate - 10)
    return controlled < low or controlled > max(win_rate + (100 - win_rate) / 4, win_rate + 10)
