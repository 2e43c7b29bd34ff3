"""Arena-Hard scores with the style of the answers held equal, by the rules of v0.1 and of v2.0.

All models of the pool are fitted together, and features are centered over the pool's battles: a score depends on which
models are in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefine.errors import PrefineError, missing_extra
from prefine.evaluate.benchmarks import style_metadata
from prefine.evaluate.benchmarks.arena_hard import Judgment
from prefine.evaluate.benchmarks.bradley_terry import ANCHOR, SCALE, interval, score_of
from prefine.evaluate.benchmarks.style_metadata import Style

ROUNDS = 100
FEATURES = ("length", "headers", "lists", "bold")


@dataclass(frozen=True)
class Pool:
    """All votes of a pool, gathered by prompt and model. Styles are (n, 4) floats in the order of FEATURES.

    `pair` (votes,) says which of the n pairs a single vote belongs to, `outcome` (votes,) how it went for the model.
    """

    models: list[str]
    baseline: str
    model: np.ndarray
    model_style: np.ndarray
    baseline_style: np.ndarray
    pair: np.ndarray
    outcome: np.ndarray

    def counted(self, drawn: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(n,) votes and (n,) sums of outcomes of each pair, of all votes or of those numbered in `drawn`."""
        pair, outcome = (self.pair, self.outcome) if drawn is None else (self.pair[drawn], self.outcome[drawn])
        n = len(self.model)
        return np.bincount(pair, minlength=n).astype(float), np.bincount(pair, weights=outcome, minlength=n)


@dataclass(frozen=True)
class Controlled:
    """By model: score and interval in percent; and what a standard deviation of each feature is worth."""

    scores: dict[str, tuple[float, float | None, float | None]]
    coefficients: dict[str, float]


def pool(judgments: Sequence[Judgment], styles: dict[str, dict[str, Style]], path: Path | None = None) -> Pool:
    """The votes with the styles of both answers. All judgments must have one baseline; styles must be complete."""
    kept = [j for j in judgments if j.votes and j.model != j.baseline]
    baselines = {j.baseline for j in kept}
    if len(baselines) != 1:
        raise PrefineError(f"style control needs judgments against one baseline, not {len(baselines)}")
    models = sorted({j.model for j in kept})
    votes = [(i, v.outcome) for i, j in enumerate(kept) for v in j.votes for _ in range(v.weight)]
    baseline = baselines.pop()
    return Pool(
        models,
        baseline,
        np.array([models.index(j.model) for j in kept]),
        np.array([style_metadata.of(styles, j.model, j.question, path) for j in kept]),
        np.array([style_metadata.of(styles, baseline, j.question, path) for j in kept]),
        np.array([i for i, _ in votes]),
        np.array([o for _, o in votes]),
    )


def _standardize(features: np.ndarray, votes: np.ndarray, ddof: int) -> np.ndarray:
    """z-scores over single votes; a feature that never varies becomes 0."""
    total = votes.sum()
    centered = features - (votes @ features) / total
    spread = np.sqrt((votes @ centered**2) / (total - ddof))
    return centered / np.where(spread > 0, spread, np.inf)


def features_v01(found: Pool) -> np.ndarray:
    """(n, 4): (A - B) / (A + B + 1) with A the baseline's count and B the model's; z-scores, population deviation."""
    a, b = found.baseline_style, found.model_style
    return _standardize((a - b) / (a + b + 1), found.counted()[0], ddof=0)


def features_v20(found: Pool) -> np.ndarray:
    """(n, 4): length (m - b) / (m + b); markdown as density x / (length + 1), then (m - b) / (m + b + 1); z-scores."""
    m, b = found.model_style, found.baseline_style
    total = m[:, :1] + b[:, :1]
    length = (m[:, :1] - b[:, :1]) / np.where(total > 0, total, 1.0)
    dm, db = m[:, 1:] / (m[:, :1] + 1), b[:, 1:] / (b[:, :1] + 1)
    return _standardize(np.hstack([length, (dm - db) / (dm + db + 1)]), found.counted()[0], ddof=1)


def control_v01(found: Pool, *, rounds: int = ROUNDS, seed: int = 0) -> Controlled:
    """Bradley-Terry with style features: logistic regression with an L2 penalty (C = 1) and no intercept.

    The design has ln 10 for the baseline and -ln 10 for the model, as ratings have; battles count twice, ties as one
    win and one loss. The baseline is at 1000 in the fit and in each of the `rounds` resamples of battles.
    """
    design = _design_v01(found)
    rating, style = _fit_v01(found, design, *found.counted())
    rng, n = np.random.default_rng(seed), len(found.pair)
    drawn = [_fit_v01(found, design, *found.counted(rng.integers(0, n, n)))[0] for _ in range(rounds)]
    score = score_of(rating).tolist()
    low, high = interval(np.array(drawn)).tolist() if rounds else ([None] * len(score),) * 2
    return Controlled(
        {m: (score[i], low[i], high[i]) for i, m in enumerate(found.models)},
        dict(zip(FEATURES, style.tolist(), strict=True)),
    )


def _design_v01(found: Pool) -> Any:
    """Sparse (2 n, models + 1 + 4): every pair once for the baseline's wins and once for its losses."""
    try:
        from scipy.sparse import csr_matrix, hstack, vstack
    except ImportError:
        raise missing_extra("scipy", "eval") from None
    n, k = len(found.model), len(found.models)
    columns = np.concatenate([np.full(n, k), found.model])
    values = np.repeat([np.log(10), -np.log(10)], n)
    x = hstack([csr_matrix((values, (np.tile(np.arange(n), 2), columns)), (n, k + 1)), csr_matrix(features_v01(found))])
    return vstack([x, x]).tocsr()


def _fit_v01(found: Pool, design: Any, votes: np.ndarray, won: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(models,) ratings, NaN for a model without votes; (4,) coefficients of the features as the baseline sees them."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise missing_extra("scikit-learn", "eval") from None
    n, k = len(found.model), len(found.models)
    model = LogisticRegression(fit_intercept=False)
    model.fit(design, np.repeat([1, 0], n), sample_weight=2 * np.concatenate([votes - won, won]))
    coefficients = model.coef_[0]
    drawn = np.bincount(found.model, weights=votes, minlength=k) > 0
    rating = ANCHOR + SCALE * (coefficients[:k] - coefficients[k])
    return np.where(drawn, rating, np.nan), coefficients[k + 1 :]


def control_v20(found: Pool, *, rounds: int = ROUNDS, seed: int = 0) -> Controlled:
    """exp(c_m) / (exp(c_m) + exp(c_baseline)) in percent: median and 5 to 95 % of `rounds` resamples of battles.

    Without rounds it is that of all battles.
    """
    design = _design_v20(found)
    rng, n = np.random.default_rng(seed), len(found.pair)
    k = len(found.models)
    samples = [rng.integers(0, n, n) for _ in range(rounds)] or [None]
    fits = np.array([_fit_v20(design, *found.counted(drawn)) for drawn in samples])
    share = 100 / (1 + np.exp(fits[:, k : k + 1] - fits[:, :k]))
    middle, low, high = np.quantile(share, [0.5, 0.05, 0.95], axis=0).tolist()
    return Controlled(
        {m: (middle[i], low[i], high[i]) if rounds else (middle[i], None, None) for i, m in enumerate(found.models)},
        dict(zip(FEATURES, np.median(fits[:, k + 1 :], axis=0).tolist(), strict=True)),
    )


def _design_v20(found: Pool) -> np.ndarray:
    """(n, models + 1 + 4): 1 for the model, -1 for the baseline, then the features."""
    n, k = len(found.model), len(found.models)
    one_hot = np.zeros((n, k + 1))
    one_hot[np.arange(n), found.model] = 1.0
    one_hot[:, k] = -1.0
    return np.hstack([one_hot, features_v20(found)])


def _fit_v20(design: np.ndarray, votes: np.ndarray, won: np.ndarray) -> np.ndarray:
    """(models + 1 + 4,) coefficients: summed cross-entropy, L-BFGS of rate .1 and 50 iterations from .5, as published.

    It stops before it has converged, so these settings are part of the score.
    """
    import torch

    x, total, wins = (torch.from_numpy(array) for array in (design, votes, won))
    beta = torch.full((x.shape[1],), 0.5, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([beta], lr=0.1, max_iter=50, tolerance_grad=1e-9, tolerance_change=1e-9)

    def closure() -> float:
        search.zero_grad()
        z = x @ beta
        loss = (total * torch.nn.functional.softplus(z) - wins * z).sum()
        loss.backward()
        return loss.item()

    search.step(closure)
    return beta.detach().numpy()
