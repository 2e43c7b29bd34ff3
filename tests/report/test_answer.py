"""The first lines of the page: who is best, and how certain that is."""

import copy

import pytest

from prefine.report.answer import answer, same_start
from prefine.report.collect import collect
from prefine.report.results import results
from tests.report.conftest import made_up_run


@pytest.fixture
def data(demo_run):
    """dpo beats all, simpo is level with the start, pad loses, unless a test says otherwise."""
    data = copy.deepcopy(results(collect(demo_run)))
    for method, mean in zip(data["methods"], (0.7, 0.52, 0.4), strict=True):
        method["win_rate"] |= {"mean": mean}
    for c in data["comparisons"]:
        c["win_rate"] |= {"value": 0.7, "adjusted": 0.001, "detectable": 0.08}
    return data


def of(data, a: str, b: str) -> dict:
    return next(c["win_rate"] for c in data["comparisons"] if {c["a"], c["b"]} == {a, b})


def test_a_clear_winner(data):
    found = answer(data)
    assert (
        found.headline == "dpo is best: it beats the start in 70.0\u202f% of the comparisons, and every other method."
    )
    assert found.method == "dpo" and found.certain is True
    assert found.lines[1] == "Head to head it beats simpo (70.0\u202f%, p = .001) and pad (70.0\u202f%, p = .001)."
    assert "One training seed" in found.lines[-1]


def test_a_lead_that_may_be_chance(data):
    of(data, "dpo", "simpo").update(value=0.53, adjusted=0.3)
    found = answer(data)
    assert found.headline.endswith("; which of dpo and simpo is best is not certain.") and found.certain is False
    assert any("cannot be told from simpo (53.0\u202f%, p = .30)" in x and "8.0 points" in x for x in found.lines)
    of(data, "dpo", "pad").update(adjusted=0.3)
    assert answer(data).headline.endswith("; which of all methods is best is not certain.")


def test_whoever_is_certainly_beaten_is_not_best(data):
    c = next(c for c in data["comparisons"] if {c["a"], c["b"]} == {"dpo", "simpo"})
    c["a"], c["b"] = "simpo", "dpo"
    c["win_rate"]["value"] = 0.6
    found = answer(data)
    assert found.method == "simpo" and found.headline.startswith("simpo is best: it beats the start in 52.0")
    assert "dpo (60.0\u202f%, p = .001)" in found.lines[1]
    # stored from the other side it is the same
    c["a"], c["b"], c["win_rate"]["value"] = "dpo", "simpo", 0.4
    assert answer(data).lines[1] == found.lines[1]


def test_methods_with_other_starts_are_ranked_by_score(data):
    for method, score in zip(data["methods"], (0.1, 0.2, 0.9), strict=True):
        method["gold_greedy"] |= {"mean": score}
    for c in data["comparisons"]:
        c["win_rate"]["adjusted"] = 0.5 if "start" not in (c["a"], c["b"]) else 0.001
    assert answer(data).method == "dpo" and same_start(data)
    data["runs"][2]["start"] = "another"
    assert answer(data).method == "pad" and not same_start(data)
    assert "its own start" in answer(data).headline and "its own start" in answer(data).lines[0]


def test_nothing_beats_the_start(data):
    of(data, "dpo", "start").update(adjusted=0.2)
    assert answer(data).headline.startswith("The best of 3 methods, dpo, cannot be told from the start")
    of(data, "dpo", "start").update(adjusted=0.001)
    data["methods"][0]["win_rate"]["mean"] = data["methods"][1]["win_rate"]["mean"] = 0.39
    data["methods"][2]["win_rate"]["mean"] = 0.3
    assert answer(data).headline.startswith("Even the best of 3 methods, dpo, does worse than the start")


def test_seeds_are_told(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.2}, seeds=(0, 1, 2), prompts=30)
    found = answer(results(collect(run)))
    assert found.headline.startswith("dpo beats the start in ") and "Over 3 training seeds" in found.lines[-1]


def test_without_a_deciding_metric_pairs_rank(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.1, "pad": 0.0}, prompts=6, metric=False)
    found = answer(results(collect(run)))
    assert "ranks held-out pairs best" in found.headline and found.certain is None
