"""Anchored preference optimization, upward and downward."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, LOGPS, PAIRS, golden, gradient


def test_zero():
    golden("apo_zero", [0.9700209792, 1.0449595534])
    golden("apo_zero", [1.0, 1.0], AT_REFERENCE)
    gradient("apo_zero", [[-0.0249975002, 0.0249376040], [-0.0249102156, 0.0249775135]])


def test_down():
    golden("apo_down", [0.9750357816, 1.0149148406])
    golden("apo_down", [1.0, 1.0], AT_REFERENCE)
    gradient("apo_down", [[0.0000872846, 0.0249102156], [0.0001116271, 0.0247985885]])
    start = evaluate("apo_down", logps=LOGPS, ref_logps=LOGPS).grad_logps
    assert start[:, 0].tolist() == [0, 0] and start[:, 1].tolist() == pytest.approx([0.025] * 2)


def test_settings_that_are_errors():
    for name in ("apo_zero", "apo_down"):
        for settings in ({"beta": 0.0}, {"f_divergence": "js"}):
            with pytest.raises(PrefineError):
                evaluate(name, **PAIRS, **settings)
