"""The sentences say what the numbers say, also when a method loses."""

import copy

import pytest

from prefine.report.collect import collect
from prefine.report.findings import summary, verdict, warnings
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


def test_warnings_are_quiet_when_nothing_is_wrong(data):
    for run in data["runs"]:
        run["cooled_start"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["win_rate"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["length"]["t1"]["words_ratio"] = 0.9
    assert warnings(data) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["length"]["greedy"].update(words_ratio=1.6), "1.6 times the words"),
        (lambda r: r["length"]["t1"].update(words_ratio=0.6), "0.60 times the words"),
        (lambda r: r["kl"].update(value=12.0), "far from the start"),
        (lambda r: r["kl"].update(per_token=0.7), "far from the start"),
        (lambda r: r.update(distinct=1.5), "diversity collapsed"),
        (lambda r: r.update(truncated=0.2), "cut off at 64 tokens"),
        (lambda r: r["cooled_start"].update(low=0.45), "no more than plain cooling"),
        (lambda r: r["win_rate"].update(value=0.4, low=0.3, high=0.45), "over-optimization"),
        (lambda r: r["win_rate"].update(n=40), "Only 40 prompts"),
        (lambda r: r["win_rate"].update(missing=3), "3 prompts have no score"),
    ],
)
def test_each_warning(data, change, said):
    for run in data["runs"]:
        run["cooled_start"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["win_rate"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["win_rate_t1"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["length"]["t1"]["words_ratio"] = 0.9
    change(data["runs"][0])
    found = warnings(data)
    assert len(found) == 1 and said in found[0]


def test_warnings_of_several_seeds_are_one_line(data):
    twin = copy.deepcopy(data["runs"][0])
    data["runs"] = [{**twin, "name": f"dpo, seed {i}", "method": "dpo", "truncated": 0.2} for i in range(3)]
    cut = [w for w in warnings(data) if "cut off" in w]
    assert len(cut) == 1 and cut[0].startswith("dpo (3 seeds; numbers of seed 0): ")
