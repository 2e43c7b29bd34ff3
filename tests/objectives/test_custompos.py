"""Losses of CustomPOs, worked out by hand with the log-ratio differences 1.2 and -1.8 and beta 0.1."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient, metric, sigmoid, softplus

Z = (0.12, -0.18)
FREE = (0.05, -0.1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_focal_dpo(gamma):
    golden("fpo", [-((1 - sigmoid(z)) ** gamma) * math.log(sigmoid(z)) for z in Z], gamma=gamma)
    golden("fpo", [0.5**gamma * math.log(2)] * 2, AT_REFERENCE, gamma=gamma)
    slopes = [
        0.1 * (gamma * sigmoid(z) * math.log(sigmoid(z)) - (1 - sigmoid(z))) * (1 - sigmoid(z)) ** gamma for z in Z
    ]
    gradient("fpo", [[s, -s] for s in slopes], gamma=gamma)


def test_focal_dpo_by_default_has_gamma_2():
    golden("fpo", [(1 - sigmoid(z)) ** 2 * softplus(-z) for z in Z])


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_cpo(gamma):
    expected = [-((1 - sigmoid(z)) ** gamma) * math.log(sigmoid(f)) for z, f in zip(Z, FREE, strict=True)]
    golden("fcpo", expected, gamma=gamma)
    slopes = [
        0.1 * (1 - sigmoid(z)) ** gamma * (gamma * sigmoid(z) * math.log(sigmoid(f)) - (1 - sigmoid(f)))
        for z, f in zip(Z, FREE, strict=True)
    ]
    gradient("fcpo", [[s, -s] for s in slopes], gamma=gamma)


def test_soft_labels_from_scores():
    given = {**PAIRS, "scores": [[2.0, 0.5], [1.0, 1.4]]}
    q = [sigmoid(1.5), sigmoid(-0.4)]
    expected = [-q * math.log(sigmoid(z)) - (1 - q) * math.log(sigmoid(-z)) for q, z in zip(q, Z, strict=True)]
    found = golden("mpo", expected, given)
    assert metric(found, "mpo/label") == pytest.approx(q)
    slopes = [0.1 * (sigmoid(z) - q) for q, z in zip(q, Z, strict=True)]
    gradient("mpo", [[s, -s] for s in slopes], given)
    with pytest.raises(PrefineError, match="scores"):
        evaluate("mpo", **PAIRS)


@pytest.mark.parametrize("alpha", [0.5, 7.0])
def test_ropo(alpha):
    a, b = 4 * alpha / (1 + alpha) ** 2, 4 * alpha**2 / (1 + alpha) ** 2
    golden("ropo", [-a * math.log(sigmoid(z)) + b * sigmoid(-z) for z in Z], alpha=alpha)
    slopes = [-0.1 * (a * sigmoid(-z) + b * sigmoid(z) * sigmoid(-z)) for z in Z]
    gradient("ropo", [[s, -s] for s in slopes], alpha=alpha)


def test_ropo_by_default():
    golden("ropo", [28 / 64 * softplus(-z) + 196 / 64 * sigmoid(-z) for z in Z])


@pytest.mark.parametrize(("total", "entropies"), [(False, [[6.0, 4.0], [1.0, 5.0]]), (True, [[3.0, 2.0], [0.5, 0.5]])])
def test_mallows(total, entropies):
    tokens = (1, 1) if total else (5, 6)
    log_v = math.log(1000)
    dispersion = [-math.log(sum(h) / n / log_v) for h, n in zip(entropies, tokens, strict=True)]
    z = [2 * 0.7 * d * z for d, z in zip(dispersion, Z, strict=True)]
    given = {**PAIRS, "entropy": entropies}
    settings = {"phi": 0.7, "entropy_sum": total, "vocab_size": 1000}
    found = golden("mallows", [-math.log(sigmoid(x)) for x in z], given, **settings)
    assert metric(found, "mallows/dispersion") == pytest.approx(dispersion)
    slopes = [-2 * 0.7 * d * 0.1 * sigmoid(-x) for d, x in zip(dispersion, z, strict=True)]
    gradient("mallows", [[s, -s] for s in slopes], given, **settings)


def test_settings_that_are_errors():
    for name, settings in (
        ("fpo", {"gamma": -1.0}),
        ("fcpo", {"beta": 0.0}),
        ("mpo", {"beta": 0.0}),
        ("ropo", {"alpha": 0.0}),
        ("mallows", {"phi": 0.0}),
    ):
        with pytest.raises(PrefineError):
            evaluate(name, **PAIRS, **settings)


def test_both_terms_of_fcpo_discount_tails():
    tails = {
        "token_logps": [[[-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]]],
        "lengths": [[3, 1]],
        "ref_logps": [[-5.0, -1.0]],
        "ref_token_logps": [[[-1.0, -2.0, -2.0], [-1.0, 0.0, 0.0]]],
    }
    for ld_alpha, gap in ((0.5, -2.5), (0.999999, -5.0)):
        found = evaluate("fcpo", gamma=0.0, beta=0.1, ld_alpha=ld_alpha, **tails).loss
        assert found.item() == pytest.approx(math.log1p(math.exp(-0.1 * gap)), abs=1e-5)
