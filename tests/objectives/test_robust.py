"""DPO under a known rate of flipped labels."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient


def test_values_and_gradient():
    golden("robust", [0.6199461016, 0.8096917248])
    golden("robust", [0.6931471806] * 2, AT_REFERENCE)
    gradient("robust", [[-0.0595035948, 0.0595035948], [-0.0669878892, 0.0669878892]])


def test_it_is_not_bounded_below():
    golden("robust", [-12.5], {"logps": [[1000.0, 0.0]], "ref_logps": [[0.0, 0.0]]})


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_flipped_labels_leave_the_expected_loss_as_it_is(rate):
    clean = evaluate("dpo", **PAIRS).losses
    swapped = {k: [row[::-1] for row in v] for k, v in PAIRS.items()}
    right, wrong = (evaluate("robust", label_smoothing=rate, **p).losses for p in (PAIRS, swapped))
    assert ((1 - rate) * right + rate * wrong).tolist() == pytest.approx(clean.tolist(), abs=1e-12)


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}):
        with pytest.raises(PrefineError):
            evaluate("robust", **PAIRS, **settings)
