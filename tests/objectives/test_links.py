"""The small functions that objectives share, against the decimal module with 60 digits."""

import decimal
import math
from decimal import Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.objectives.links import MAX_EXPONENT, clamped_exp, log1mexp, logistic


def value_and_gradient(function, x, dtype=torch.float64):
    t = torch.tensor(x, dtype=dtype, requires_grad=True)
    y = function(t)
    (grad,) = torch.autograd.grad(y, t)
    return y.item(), grad.item()


@settings(deadline=None)
@given(st.floats(-60, 60), st.sampled_from([0.0, 0.1, 0.4]))
def test_logistic(z, e):
    with decimal.localcontext() as context:
        context.prec = 60
        right, wrong = ((1 + Decimal(s * z).exp()).ln() for s in (-1, 1))
        exact = float((1 - Decimal(e)) * right + Decimal(e) * wrong)
    value, grad = value_and_gradient(lambda t: logistic(t, e), z)
    # torch's softplus is linear from 20 on, where it is off by exp(-20).
    assert value == pytest.approx(exact, rel=1e-12, abs=2.1e-9)
    assert grad == pytest.approx(e - 1 / (1 + math.exp(z)), abs=2.1e-9)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1))
def test_the_two_labels_change_places(z, e):
    t = torch.tensor(z, dtype=torch.float64)
    assert logistic(t, e).item() == pytest.approx(logistic(-t, 1 - e).item(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("a", [-1e-30, -1e-12, -1e-6, -0.1, -0.69, -math.log(2), -0.7, -1.0, -20.0, -80.0, -700.0])
def test_log1mexp(a):
    with decimal.localcontext() as context:
        context.prec = 400
        e = Decimal(a).exp()
        exact, slope = float((1 - e).ln()), float(-e / (1 - e))
    value, grad = value_and_gradient(log1mexp, a)
    assert value == pytest.approx(exact, rel=1e-13) and grad == pytest.approx(slope, rel=1e-12)
    value, grad = value_and_gradient(log1mexp, a, torch.float32)
    assert value == pytest.approx(exact, rel=1e-6) and grad == pytest.approx(slope, rel=1e-5, abs=1e-37)


def test_clamped_exp():
    for x in (-5.0, 0.0, 79.0):
        assert value_and_gradient(clamped_exp, x) == pytest.approx((math.exp(x), math.exp(x)))
    value, grad = value_and_gradient(clamped_exp, 1e9, torch.float32)
    assert value == pytest.approx(math.exp(MAX_EXPONENT), rel=1e-5) and grad == 0
