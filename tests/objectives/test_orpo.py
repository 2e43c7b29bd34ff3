"""Odds ratio preference optimization."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import LENGTHS, LOGPS, golden, gradient, metric, total

ALONE = {"logps": LOGPS, "lengths": LENGTHS}
ODDS = {"nll_weight": 0.0, "beta": 1.0}


def test_values_and_gradient():
    found = golden("orpo", [0.3085087034, 1.9050636418], ALONE, **ODDS)
    assert metric(found, "orpo/log_odds_ratio") == pytest.approx([1.0177882787, -1.7439400072], abs=1e-6)
    odds = [math.log(math.exp(a) / (1 - math.exp(a))) for a in (-1.0, -2.0)]
    assert metric(found, "orpo/log_odds") == pytest.approx(odds, abs=1e-9)
    golden("orpo", [1.0308508703, 2.1905063642], ALONE, nll_reduction="seq_mean")
    total("orpo", 1.5106786173, ALONE)
    gradient("orpo", [[-0.1399830234, 0.1606451641], [-0.4922062922, 0.4033040517]], ALONE, **ODDS)


def test_the_nll_can_include_the_prompt():
    given = {**ALONE, "prompt_logps": [-2.0, -6.0], "prompt_lengths": [1, 4]}
    odds = [0.03085087034, 0.19050636418]
    per_token = 15.0 / 10 + sum(odds) / 2
    total("orpo", per_token, given, nll_on_prompt=True)
    golden("orpo", [5 / 4 + odds[0], 10 / 6 + odds[1]], given, nll_on_prompt=True, nll_reduction="seq_mean")
    found = evaluate("orpo", nll_on_prompt=True, **given)
    assert found.grads["prompt_logps"].tolist() == pytest.approx([-0.2, -0.2])
    with pytest.raises(PrefineError, match="prompt_l"):
        evaluate("orpo", nll_on_prompt=True, **ALONE)


@pytest.mark.parametrize("a", [-1e-12, -1e-7, -1e-6, -1e-3])
def test_nearly_certain_answers_stay_finite(a):
    found = evaluate("orpo", logps=[[a, -2.0], [-2.0, a]], **ODDS)
    assert found.losses.isfinite().all() and found.grad_logps.isfinite().all()
    cut = min(a, -1e-6)
    odds = cut - math.log(-math.expm1(cut)) - (-2.0 - math.log1p(-math.exp(-2.0)))
    assert found.losses[1].item() == pytest.approx(math.log1p(math.exp(odds)), rel=1e-9)


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"nll_on_prompt": True, "nll_weight": 0.0}, {"ld_alpha": 0.5}):
        with pytest.raises(PrefineError):
            evaluate("orpo", **ALONE, **settings)
