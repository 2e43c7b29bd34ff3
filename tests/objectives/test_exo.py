"""Efficient exact optimization."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient, sigmoid


def test_values_and_gradient():
    for name in ("exo", "exo_pair"):
        golden(name, [2.5560731166, 3.0752318698])
    golden("exo", [2.7612307091] * 2, AT_REFERENCE)
    golden("exo", [0.2338390217, 1.0661769137], beta=0.5, label_smoothing=0.1)
    gradient("exo", [[-0.1690595245, 0.1690595245], [-0.1757415156, 0.1757415156]])


def test_it_is_a_kl_that_vanishes_at_its_target():
    e = 0.1
    z = math.log((1 - e) / e)
    found = evaluate("exo", logps=[[z, 0.0]], ref_logps=[[0.0, 0.0]], beta=1.0, label_smoothing=e)
    assert found.losses.item() == pytest.approx(0.0, abs=1e-12)
    assert found.grad_logps.abs().max().item() == pytest.approx(0.0, abs=1e-12)
    for u in (-3.0, 0.5, 4.0):
        p = sigmoid(u)
        kl = p * math.log(p / (1 - e)) + (1 - p) * math.log((1 - p) / e)
        golden("exo", [kl], {"logps": [[u, 0.0]], "ref_logps": [[0.0, 0.0]]}, beta=1.0, label_smoothing=e)


def test_confidently_wrong_pairs_have_no_gradient():
    found = evaluate("exo", logps=[[-400.0, 0.0]], ref_logps=[[0.0, 0.0]])
    assert found.grad_logps.abs().max().item() < 1e-12


def test_without_smoothing_the_loss_would_be_infinite():
    for settings in ({"label_smoothing": 0.0}, {"label_smoothing": 0.5}, {"beta": 0.0}):
        with pytest.raises(PrefineError):
            evaluate("exo", **PAIRS, **settings)
