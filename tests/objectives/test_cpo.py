"""Contrastive preference optimization."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import LENGTHS, LOGPS, golden, gradient, metric, softplus, total

ALONE = {"logps": LOGPS, "lengths": LENGTHS}


def test_values_and_gradient():
    golden("cpo", [0.6684596480, 0.7443966601], ALONE, nll_weight=0.0)
    total("cpo", 2.1064281540, ALONE)
    total("cpo", 4.2064281540, ALONE, nll_reduction="seq_sum")
    golden("cpo", [1.6684596480, 2.7443966601], ALONE, nll_reduction="seq_mean")
    gradient("cpo", [[-0.0487502603, 0.0487502603], [-0.0524979188, 0.0524979188]], ALONE, nll_weight=0.0)
    smoothed = [0.9 * softplus(-z) + 0.1 * softplus(z) for z in (0.05, -0.1)]
    golden("cpo", smoothed, ALONE, nll_weight=0.0, label_smoothing=0.1)


def test_it_has_no_reference():
    found = evaluate("cpo", ref_logps=[[7.0, 7.0]] * 2, **ALONE)
    assert found.losses.tolist() == evaluate("cpo", **ALONE).losses.tolist()
    assert metric(found, "rewards/chosen") == pytest.approx([-0.3, -0.4])
    assert metric(found, "loss/nll") == pytest.approx([3 / 2.5, 4 / 2.5])


def test_settings_that_are_errors():
    for settings in ({"beta": -1.0}, {"nll_weight": -1.0}, {"label_smoothing": 0.5}, {"bcr_weight": 1.0}):
        with pytest.raises(PrefineError):
            evaluate("cpo", **ALONE, **settings)
