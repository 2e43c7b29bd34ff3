"""SimPO and AlphaPO."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import LENGTHS, LOGPS, golden, gradient, metric, softplus, total

ALONE = {"logps": LOGPS, "lengths": LENGTHS}


def test_simpo():
    golden("simpo", [0.4740769842, 3.5297504183], ALONE)
    golden("simpo", [0.4740769842, 3.5297504183], ALONE, beta=2.0, gamma=1.0)
    for margin in ({"gamma": 3.0}, {"gamma_beta_ratio": 0.3}):
        golden("simpo", [0.0110477448, 15.5000001855], ALONE, beta=10.0, **margin)
    golden("simpo", [0.9280574002, 1.0537006783], ALONE, beta=0.1, gamma=0.5)
    golden("simpo", [1.3132616875], {"logps": [[-3.0, -2.0]], "lengths": [[3, 2]]})
    gradient("simpo", [[-0.2516937792, 0.3775406688], [-0.9706877692, 0.4853438846]], ALONE)


def test_simpo_metrics():
    found = evaluate("simpo", **ALONE)
    assert metric(found, "rewards/chosen") == [-2.0, -4.0] and metric(found, "rewards/rejected") == [-3.5, -1.5]
    assert metric(found, "margins/above_gamma") == [1, 0]


def test_simpo_with_an_nll():
    total("simpo", 9.0777597700, ALONE, beta=10.0, gamma=5.4, nll_weight=0.05, nll_reduction="token_mean")


def test_label_smoothing():
    z = (0.5, -3.5)
    golden("simpo", [0.8 * softplus(-x) + 0.2 * softplus(x) for x in z], ALONE, label_smoothing=0.2)


def test_alphapo():
    golden("alphapo", [0.0869985823, 4.6841933533], ALONE, beta=2.5, gamma=0.25)
    golden("alphapo", [0.0869985823, 4.6841933533], ALONE, beta=2.5, gamma_beta_ratio=0.1, alpha=0.25)


@pytest.mark.parametrize("alpha", [-0.5, -0.1, 0.25, 0.5, 2.0])
def test_alphapo_by_hand(alpha):
    def reward(a):
        return (1 - math.exp(-alpha * a)) / alpha

    z = [2 * (reward(w) - reward(r)) - 1.0 for w, r in ((-1.0, -1.75), (-2.0, -0.75))]
    golden("alphapo", [softplus(-x) for x in z], ALONE, alpha=alpha)
    slope = [-2 / (1 + math.exp(x)) for x in z]
    gradient(
        "alphapo",
        [
            [slope[0] * math.exp(alpha * 1.0) / 3, -slope[0] * math.exp(alpha * 1.75) / 2],
            [slope[1] * math.exp(alpha * 2.0) / 2, -slope[1] * math.exp(alpha * 0.75) / 4],
        ],
        ALONE,
        alpha=alpha,
    )


def test_alphapo_at_zero_is_simpo():
    golden("alphapo", [0.4740769842, 3.5297504183], ALONE, alpha=0.0)
    near = evaluate("alphapo", alpha=1e-7, **ALONE).losses
    assert near.tolist() == pytest.approx([0.4740769842, 3.5297504183], abs=1e-5)


def test_settings_that_are_errors():
    for name, settings in (
        ("simpo", {"beta": 0.0}),
        ("simpo", {"gamma": -1.0}),
        ("simpo", {"gamma_beta_ratio": -0.1}),
        ("simpo", {"gamma": 1.0, "gamma_beta_ratio": 0.5}),
        ("simpo", {"label_smoothing": 0.5}),
        ("simpo", {"ld_alpha": 0.5}),
        ("simpo", {"f_divergence": "js"}),
        ("alphapo", {"alpha": 11.0}),
    ):
        with pytest.raises(PrefineError):
            evaluate(name, **ALONE, **settings)
