"""The numbers that golden values are worked out on, and how they are compared.

Pairs, token log-probs of the policy over the reference:
1: chosen -0.5 -1.0 -1.5 over -0.6 -1.2 -1.4, rejected -2.0 -1.5 over -1.5 -1.0
2: chosen -1.0 -3.0 over -0.8 -2.0, rejected -0.5 -0.5 -1.0 -1.0 over -0.7 -0.6 -1.2 -1.1
so that the log-ratios are 0.2 and -1.0, -1.2 and 0.6, and their differences 1.2 and -1.8.

Labeled: the same four responses, those of the first column desirable, with log-ratios 0.3, -0.1, 0.5 and 0.1 of
responses to other prompts.

Distributions over three tokens: a chosen response of two tokens and a rejected one of one token, POLICY_ROWS and
REF_ROWS, of which TAKEN were written.
"""

import math
from typing import Any

import pytest
import torch

from prefine.objectives import Evaluation, evaluate

TOKENS = [[[-0.5, -1.0, -1.5, 0.0], [-2.0, -1.5, 0.0, 0.0]], [[-1.0, -3.0, 0.0, 0.0], [-0.5, -0.5, -1.0, -1.0]]]
REF_TOKENS = [[[-0.6, -1.2, -1.4, 0.0], [-1.5, -1.0, 0.0, 0.0]], [[-0.8, -2.0, 0.0, 0.0], [-0.7, -0.6, -1.2, -1.1]]]
LOGPS = [[-3.0, -3.5], [-4.0, -3.0]]
REF = [[-3.2, -2.5], [-2.8, -3.6]]
LENGTHS = [[3, 2], [2, 4]]
PAIRS: dict[str, Any] = {"logps": LOGPS, "ref_logps": REF, "lengths": LENGTHS}
AT_REFERENCE: dict[str, Any] = {"logps": LOGPS, "ref_logps": LOGPS, "lengths": LENGTHS}
BY_TOKEN: dict[str, Any] = {**PAIRS, "token_logps": TOKENS, "ref_token_logps": REF_TOKENS}
LABELED: dict[str, Any] = {
    "logps": [[-3.0], [-4.0], [-3.5], [-3.0]],
    "ref_logps": [[-3.2], [-2.8], [-2.5], [-3.6]],
    "lengths": [[3], [2], [2], [4]],
    "labels": [[1], [1], [0], [0]],
}
MISMATCHED: dict[str, Any] = {"kl_logps": [-2.7, -3.1, -2.5, -2.9], "kl_ref_logps": [-3.0, -3.0, -3.0, -3.0]}

POLICY_ROWS = [[[0.5, 0.25, 0.25], [0.7, 0.2, 0.1]], [[0.6, 0.3, 0.1]]]
REF_ROWS = [[[0.4, 0.4, 0.2], [0.6, 0.3, 0.1]], [[0.5, 0.25, 0.25]]]
TAKEN = [[0, 1], [0]]

DTYPES = [(torch.float64, 1e-6), (torch.float32, 2e-5)]
INTEGERS = {"lengths", "prompt_lengths"}


def row_logps(rows: list[list[list[float]]]) -> list[float]:
    """Log-probs of the tokens taken, summed over each of the two responses."""
    return [
        sum(math.log(row[i]) for row, i in zip(response, taken, strict=True))
        for response, taken in zip(rows, TAKEN, strict=True)
    ]


def tensors(arrays: dict[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {k: torch.tensor(v, dtype=torch.long if k in INTEGERS else dtype) for k, v in arrays.items()}


def golden(name: str, expected: list[float], arrays: dict[str, Any] = PAIRS, **settings: Any) -> Evaluation:
    """The losses within 1e-6 in float64 and 2e-5 in float32; gives back the evaluation in float64."""
    single = evaluate(name, **tensors(arrays, torch.float32), **settings)
    assert single.losses.dtype == torch.float32
    assert single.losses.tolist() == pytest.approx(expected, abs=2e-5, rel=2e-7)
    double = evaluate(name, **arrays, **settings)
    assert double.losses.dtype == torch.float64
    assert double.losses.tolist() == pytest.approx(expected, abs=1e-6, rel=1e-12)
    return double


def total(name: str, expected: float, arrays: dict[str, Any] = PAIRS, **settings: Any) -> None:
    """The loss of the batch, in both types."""
    for dtype, slack in DTYPES:
        assert evaluate(name, **tensors(arrays, dtype), **settings).loss.item() == pytest.approx(expected, abs=slack)


def gradient(name: str, expected: list[list[float]], arrays: dict[str, Any] = PAIRS, **settings: Any) -> None:
    """The gradient of each loss by the log-probs within 1e-5, in float64."""
    found = evaluate(name, **arrays, **settings).grad_logps
    for got, wanted in zip(found.tolist(), expected, strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)


def metric(evaluation: Evaluation, name: str) -> list[float]:
    return evaluation.metrics[name].tolist()


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
