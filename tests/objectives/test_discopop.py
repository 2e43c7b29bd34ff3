"""DiscoPOP, with the stretch on which its loss grows with the margin."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from prefine.objectives.discopop import UPHILL
from tests.objectives.fixtures import AT_REFERENCE, PAIRS, golden, gradient, metric


def at(z):
    return evaluate("discopop", logps=[[z / 0.05, 0.0]], ref_logps=[[0.0, 0.0]])


def test_values_and_gradient():
    golden("discopop", [0.8773756697, 0.7895185870])
    golden("discopop", [0.8465735903] * 2, AT_REFERENCE)
    golden("discopop", [2.1269280110], {"logps": [[-40.0, 0.0]], "ref_logps": [[0.0, 0.0]]})
    gradient("discopop", [[0.0076826424, -0.0076826424], [0.0130367558, -0.0130367558]])


def test_its_stationary_points():
    for z, value in zip(UPHILL, (0.785924, 0.878290), strict=True):
        found = at(z)
        assert found.losses.item() == pytest.approx(value, abs=1e-6)
        assert abs(found.grad_logps[0, 0].item()) < 5e-4 * 0.05
    low, high = UPHILL
    for z, uphill in ((low - 0.01, False), (low + 0.01, True), (0.0, True), (high - 0.01, True), (high + 0.01, False)):
        found = at(z)
        assert (found.grad_logps[0, 0].item() > 0) == uphill
        assert metric(found, "discopop/uphill") == [float(uphill)]


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"tau": 0.0}):
        with pytest.raises(PrefineError):
            evaluate("discopop", **PAIRS, **settings)
