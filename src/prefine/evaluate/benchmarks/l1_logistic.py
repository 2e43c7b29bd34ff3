"""Exact L1-penalized logistic regression of many resamples at once, for a few features."""

from __future__ import annotations

import numpy as np

STEPS = 50
HALVINGS = 12
CYCLES = 60
CLOSE = 1e-8


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -z))


def fit_many(x: np.ndarray, p: np.ndarray, w: np.ndarray, c: float, start: np.ndarray) -> np.ndarray:
    """(resamples, k) coefficients that minimize C sum_i w_i CE(p_i, sigmoid(x_i beta)) + ||beta||_1, no intercept.

    x: (k, resamples, n) features; p, w: (resamples, n) targets in [0, 1] and weights; start: (k,). Proximal Newton
    steps (Lee, Sun and Saunders 2014), whose small quadratic problems are solved by coordinate descent.
    """
    beta = np.tile(np.asarray(start, dtype=np.float64), (x.shape[1], 1))
    value = _objective(x, p, w, c, beta)
    for _ in range(STEPS):
        q = sigmoid(_predict(x, beta))
        gradient = c * np.einsum("bn,kbn->bk", w * (q - p), x)
        hessian = c * np.einsum("kbn,bn,lbn->bkl", x, w * q * (1 - q), x, optimize=True)
        step = _newton_step(gradient, hessian, beta)
        beta, value, moved = _search(x, p, w, c, beta, step, value)
        if moved < CLOSE:
            break
    return beta


def _predict(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return np.einsum("kbn,bk->bn", x, beta)


def _objective(x: np.ndarray, p: np.ndarray, w: np.ndarray, c: float, beta: np.ndarray) -> np.ndarray:
    z = _predict(x, beta)
    return c * (w * (np.logaddexp(0.0, z) - p * z)).sum(axis=1) + np.abs(beta).sum(axis=1)


def _newton_step(gradient: np.ndarray, hessian: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """The d that minimizes g d + d H d / 2 + |beta + d|_1 for every resample."""
    step = np.zeros_like(beta)
    for _ in range(CYCLES):
        before = step.copy()
        for j in range(beta.shape[1]):
            curvature = np.maximum(hessian[:, j, j], 1e-12)
            slope = gradient[:, j] + np.einsum("bk,bk->b", hessian[:, j], step)
            target = beta[:, j] + step[:, j] - slope / curvature
            shrunk = np.sign(target) * np.maximum(np.abs(target) - 1 / curvature, 0.0)
            step[:, j] = shrunk - beta[:, j]
        if np.abs(step - before).max() < CLOSE / 10:
            break
    return step


def _search(
    x: np.ndarray, p: np.ndarray, w: np.ndarray, c: float, beta: np.ndarray, step: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Take the step, halved where the objective would rise; also gives the largest change of a coefficient."""
    size = np.ones(len(beta))
    for _ in range(HALVINGS):
        new = beta + size[:, None] * step
        found = _objective(x, p, w, c, new)
        worse = found > value + 1e-12 * np.abs(value)
        if not worse.any():
            break
        size[worse] /= 2
    else:
        new, found = np.where(worse[:, None], beta, new), np.where(worse, value, found)
    return new, found, float(np.abs(new - beta).max())
