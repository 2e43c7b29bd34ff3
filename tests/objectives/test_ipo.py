"""Identity preference optimization, by sums and by means."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient, metric


def test_values_and_gradient():
    golden("ipo", [14.44, 46.24], norm="sum")
    golden("ipo", [19.6544444444, 33.0625])
    golden("ipo", [0.04, 7.84], norm="sum", tau=0.5)
    for norm in ("sum", "mean"):
        golden("ipo", [25.0, 25.0], AT_REFERENCE, norm=norm)
    gradient("ipo", [[-7.6, 7.6], [-13.6, 13.6]], norm="sum")
    # Per token, a nat of a response of n tokens moves the loss by 1/n as much.
    h = (0.2 / 3 + 0.5, -0.6 - 0.15)
    slope = [2 * (x - 5) for x in h]
    gradient("ipo", [[slope[0] / 3, -slope[0] / 2], [slope[1] / 2, -slope[1] / 4]])


def test_the_target_is_counted():
    found = evaluate("ipo", norm="sum", tau=0.5, **PAIRS)
    assert metric(found, "ipo/target_reached") == [1, 0]


def test_settings_that_are_errors():
    for settings in ({"tau": 0.0}, {"norm": "max"}):
        with pytest.raises(PrefineError):
            evaluate("ipo", **PAIRS, **settings)
