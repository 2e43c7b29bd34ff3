"""The sentences say what the numbers say, also when a method loses."""

import copy

import pytest

from prefine.report.collect import collect
from prefine.report.findings import summary, verdict
from prefine.report.results import results


@pytest.fixture
def data(demo_run):
    return copy.deepcopy(results(collect(demo_run)))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.51, 0.6, "wins"), (0.5, 0.6, "open"), (0.4, 0.49, "loses"), (0.4, 0.6, "open"), (None, None, "open")],
)
def test_verdict(low, high, expected):
    assert verdict({"value": 0.5, "low": low, "high": high}) == expected


def test_nothing_measured_has_no_verdict():
    assert verdict(None) is None and verdict({"value": None, "low": None, "high": None}) is None


def test_summary_says_who_wins_loses_and_cannot_be_told(data):
    bounds = [(0.52, 0.6), (0.45, 0.56), (0.3, 0.4)]
    for run, (low, high) in zip(data["runs"], bounds, strict=True):
        run["win_rate"] |= {"value": (low + high) / 2, "low": low, "high": high}
    assert summary(data)[1] == (
        "In greedy decoding, which no temperature moves, dpo (56.0\u202f% [52.0, 60.0]) beats the start with the whole "
        "95\u202f% interval above one half; pad (35.0\u202f% [30.0, 40.0]) loses to it; simpo "
        "(50.5\u202f% [45.0, 56.0]) cannot be told from it."
    )
