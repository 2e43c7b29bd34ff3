"""Noise contrastive alignment of pairs; lists are in test_listwise.py."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient


def test_values_and_gradient():
    golden("nca", [1.3569940996, 1.4342177089], beta=0.1)
    golden("nca_pair", [1.3833013611, 1.3908236110])
    golden("nca", [1.3862943611] * 2, AT_REFERENCE)
    gradient("nca", [[-0.0242500250, 0.0237510406], [-0.0294946078, 0.0257497751]], beta=0.1)


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"f_divergence": "js"}):
        with pytest.raises(PrefineError):
            evaluate("nca", **PAIRS, **settings)
