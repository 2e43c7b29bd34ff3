"""What the page warns of: each thing when it is there, and nothing when it is not."""

import copy

import pytest

from prefine.report.cautions import warnings
from prefine.report.collect import collect
from prefine.report.results import results


@pytest.fixture
def data(demo_run):
    return copy.deepcopy(results(collect(demo_run)))


def test_warnings_are_quiet_when_nothing_is_wrong(data):
    for run in data["runs"]:
        run["cooled_start"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["win_rate"] |= {"value": 0.6, "low": 0.55, "high": 0.65}
        run["length"]["t1"]["words_ratio"] = 0.9
    assert warnings(data) == []


def gap(value: float, adjusted: float, metric: str = "gold") -> dict:
    ends = {"low": value - 0.02, "high": value + 0.02}
    return {"mode": "greedy", "metric": metric, "model": "model", "value": value, "adjusted": adjusted, **ends}


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
        (lambda r: r["length"]["greedy"].update(words_ratio=3.2), "such a drift is a sign of collapse"),
        (lambda r: r["length"]["greedy"].update(words_ratio=0.3), "such a drift is a sign of collapse"),
        (
            lambda r: r["collapse"]["model"].update(repeating=0.2),
            "20.0\u202f% of the greedy responses repeat themselves",
        ),
        (lambda r: r["collapse"]["model"].update(refusing=0.1), "greedy responses refuse"),
        (lambda r: r["collapse"].update(model={"same_answer": 0.5}, start={}), "whatever the prompt"),
        (lambda r: r["collapse"]["model"].update(empty=0.06), "are empty"),
        (lambda r: r["differences"].append(gap(-0.1, 0.001)), "gold of greedy responses got worse"),
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


def test_a_metric_falls_only_where_it_says_which_way_is_better_and_chance_is_ruled_out(data):
    run = data["runs"][0]
    before = warnings(data)
    run["signatures"]["toxicity"] = {"higher_is_better": False}
    run["signatures"]["words"] = {"higher_is_better": None}
    run["differences"] = [gap(-0.1, 0.2), gap(-0.1, 0.001, "toxicity"), gap(-9.0, 0.001, "words"), gap(0.1, 0.001)]
    assert warnings(data) == before
    run["differences"] = [gap(0.1, 0.001, "toxicity")]
    (found,) = [w for w in warnings(data) if "got worse" in w]
    assert "toxicity" in found and "0.100 [0.0800, 0.120]" in found and "p = .001" in found


def test_signs_that_the_start_shows_as_well_are_no_collapse(data):
    for who in ("model", "start"):
        data["runs"][0]["collapse"][who]["refusing"] = 0.3
    assert not any("refuse" in w for w in warnings(data))
