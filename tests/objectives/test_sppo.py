"""Self-play preference optimization, hard and soft."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient, metric, sigmoid

LARGE = {"beta": 0.5, "allow_large_beta": True}


def test_hard():
    golden("sppo", [0.64, 7.4], **LARGE)
    golden("sppo_hard", [0.32, 3.7], half_sum=True, **LARGE)
    golden("sppo", [498801.04, 501801.8])
    golden("sppo", [500000.0] * 2, AT_REFERENCE)
    gradient("sppo", [[-1.6, 0.0], [-4.4, 3.2]], **LARGE)


def test_soft():
    given = {**PAIRS, "scores": [[0.8, 0.2], [0.8, 0.2]]}
    found = golden("sppo", [0.32, 4.68], given, preference="probability", **LARGE)
    assert metric(found, "sppo/preference") == [0.8, 0.8]
    given["scores"] = [[3.0, 1.0], [-1.0, 1.0]]
    targets = [(sigmoid(2.0) - 0.5) / 0.5, (sigmoid(-2.0) - 0.5) / 0.5]
    u = [(0.2, -1.0), (-1.2, 0.6)]
    expected = [(w - t) ** 2 + (r + t) ** 2 for (w, r), t in zip(u, targets, strict=True)]
    golden("sppo", expected, given, preference="bradley_terry", **LARGE)
    with pytest.raises(PrefineError, match="scores"):
        evaluate("sppo", preference="probability", **PAIRS)


def test_a_large_beta_is_another_algorithm():
    with pytest.raises(PrefineError, match="allow_large_beta"):
        evaluate("sppo", beta=0.1, **PAIRS)
    golden(
        "sppo", [(0.2 - 5) ** 2 + (-1.0 + 5) ** 2, (-1.2 - 5) ** 2 + (0.6 + 5) ** 2], beta=0.1, allow_large_beta=True
    )
    with pytest.raises(PrefineError):
        evaluate("sppo", beta=0.0, **PAIRS)
