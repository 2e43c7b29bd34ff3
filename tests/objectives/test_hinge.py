"""Hinges: on log-ratios (SLiC-DPO) and on log-probs (SLiC)."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, LENGTHS, LOGPS, PAIRS, golden, gradient, metric, total

ALONE = {"logps": LOGPS, "lengths": LENGTHS}


def test_hinge():
    golden("hinge", [0.88, 1.18])
    golden("slic_dpo", [0.0, 2.8], beta=1.0)
    golden("hinge", [0.8, 3.8], beta=1.0, delta=2.0)
    golden("hinge", [1.5, 1.5], AT_REFERENCE, delta=1.5)
    gradient("hinge", [[-0.1, 0.1], [-0.1, 0.1]])
    gradient("hinge", [[0.0, 0.0], [-1.0, 1.0]], beta=1.0)
    assert metric(evaluate("hinge", beta=1.0, **PAIRS), "hinge/satisfied") == [1, 0]


def test_slic():
    golden("slic", [0.5, 2.0], ALONE, nll_weight=0.0)
    golden("slic_hf", [0.8, 2.4], ALONE, nll_reduction="seq_sum")
    golden("slic", [0.5 + 0.1 * 3 / 2.5, 2.0 + 0.1 * 4 / 2.5], ALONE)
    custom = {"beta": 0.1, "nll_weight": 1.0}
    golden("slic", [0.95, 1.1], ALONE, beta=0.1, nll_weight=0.0)
    total("slic", 2.425, ALONE, **custom)


def test_settings_that_are_errors():
    for name, settings in (
        ("hinge", {"beta": 0.0}),
        ("hinge", {"delta": 0.0}),
        ("hinge", {"label_smoothing": 0.1}),
        ("slic", {"f_divergence": "js"}),
        ("slic", {"bcr_weight": 1.0}),
        ("slic", {"nll_weight": 0.0, "nll_reduction": "seq_sum"}),
    ):
        with pytest.raises(PrefineError):
            evaluate(name, **PAIRS, **settings)
