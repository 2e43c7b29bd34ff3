"""Tests between methods on stored scores: worked by hand, over seeds, corrected for their number."""

import pytest

from prefine.evaluate.paired import holm
from prefine.report.collect import Collection, Run
from prefine.report.comparisons import comparisons, method_seeds
from prefine.schema import Score, make_candidate, make_group

MARKED = {"train_key": "x", "win_by": "gold", "comparable": "same"}


def run(method: str, ours: list[float | None], start: list[float | None], seed: int = 0, **scores) -> Run:
    groups = []
    for i, (a, b) in enumerate(zip(ours, start, strict=True)):
        group = make_group([{"role": "user", "content": str(i)}])
        for role, value in (("model", a), ("start", b)):
            made = make_candidate(group.id, f"{role} {i}", {"role": role, "mode": "greedy"}, role)
            made.scores = [Score("gold", value)] if value is not None else []
            group.candidates.append(made)
        groups.append(group)
    return Run(method, method, "r", f"{method}{seed}", seed, {}, {}, {**MARKED, **scores}, {}, [], groups=groups)


def compared(*runs: Run) -> dict[tuple[str, str], dict]:
    found = comparisons(Collection(list(runs), [], {}, {}, []))
    return {(c["a"], c["b"]): c for c in found}


def test_two_methods_and_their_start_by_hand():
    start = [0.0] * 8
    a = run("a", [1.0] * 8, start)
    b = run("b", [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0], start)
    found = compared(b, a)
    assert list(found) == [("b", "start"), ("a", "start"), ("a", "b")]
    # three ties and five wins of eight
    duel = found["a", "b"]
    assert duel["win_rate"]["value"] == (3 / 2 + 5) / 8 and duel["win_rate"]["n"] == 8
    assert duel["difference"]["value"] == pytest.approx((4 * 0.5 + 1) / 8)
    # signs of five equal gaps: 2 in 32 are as far out
    assert duel["win_rate"]["p_value"] == pytest.approx(2 / 32, abs=0.01)
    assert duel["win_rate"]["adjusted"] == duel["win_rate"]["p_value"]
    first = [found["b", "start"]["win_rate"], found["a", "start"]["win_rate"]]
    assert [f["adjusted"] for f in first] == pytest.approx(holm([f["p_value"] for f in first]))
    assert first[0]["adjusted"] > first[0]["p_value"] or first[1]["adjusted"] > first[1]["p_value"]
    assert duel["over_seeds"] is None


def test_prompts_without_a_score_on_one_side_do_not_count():
    found = compared(run("a", [1.0, None, 0.5], [0.0, 0.0, 0.0]), run("b", [0.0, 1.0, 0.5], [0.0, 0.0, None]))
    assert found["a", "b"]["win_rate"]["n"] == 2 and found["a", "b"]["win_rate"]["value"] == 0.75
    assert found["b", "start"]["win_rate"]["n"] == 2 and found["a", "start"]["win_rate"]["n"] == 2


def test_seeds_are_averaged_for_each_prompt_and_compared_seed_by_seed():
    start = [0.0, 0.0]
    a = [run("a", [1.0, 1.0], start, seed=i) for i in range(3)]
    b = [run("b", values, start, seed=i) for i, values in enumerate(([0.0, 0.0], [1.0, 0.0], [1.0, 1.0]))]
    duel = compared(*a, *b)["a", "b"]
    # by seed a wins 1, .75 and .5 of the prompts
    assert duel["over_seeds"]["seeds"] == 3 and duel["over_seeds"]["value"] == pytest.approx(0.75)
    assert duel["over_seeds"]["sd"] == pytest.approx(0.25)
    assert duel["over_seeds"]["low"] == pytest.approx(0.75 - 4.30265 * 0.25 / 3**0.5, abs=1e-4)
    assert duel["win_rate"]["n"] == 2 and duel["win_rate"]["value"] == pytest.approx(0.75)
    # gaps by prompt: 1/3 and 2/3
    assert duel["difference"]["value"] == pytest.approx(0.5)
    means = method_seeds(Collection([*a, *b], [], {}, {}, []))
    assert means["b"]["value"] == pytest.approx(0.5) and means["b"]["sd"] == pytest.approx(0.5)


def test_other_seeds_are_all_set_against_each_other():
    a = [run("a", [1.0], [0.0], seed=i) for i in (0, 1)]
    b = [run("b", [v], [0.0], seed=i) for i, v in ((2, 0.0), (3, 1.0))]
    duel = compared(*a, *b)["a", "b"]
    assert duel["win_rate"]["value"] == 0.75 and duel["over_seeds"] is None


def test_what_was_not_evaluated_alike_is_not_compared():
    a, b = run("a", [1.0], [0.0]), run("b", [0.0], [0.0], comparable="other")
    assert set(compared(a, b)) == {("a", "start"), ("b", "start")}
    assert compared(run("a", [1.0], [0.0], win_by=None)) == {}
    assert compared(run("a", [None], [None])) == {}


def test_of_many_methods_only_the_best_meets_all_others():
    runs = [run(f"m{i:02d}", [i / 20], [0.0]) for i in range(14)]
    found = compared(*runs)
    assert sum(b == "start" for _, b in found) == 14
    assert {a for a, b in found if b != "start"} == {"m13"} and sum(b != "start" for _, b in found) == 13


def test_a_share_over_seeds_ends_at_one():
    """Shares of 1, .5 and 1: mean .833, sd .289, and 4.303 * .289 / sqrt(3) = .717 to either side."""
    runs = [run("a", [1.0, v], [0.0, 0.5], seed=i) for i, v in enumerate((1.0, 0.0, 1.0))]
    over = compared(*runs)["a", "start"]["over_seeds"]
    assert over["value"] == pytest.approx(5 / 6) and over["high"] == 1.0
    assert over["low"] == pytest.approx(5 / 6 - 4.3027 * 0.288675 / 3**0.5, abs=1e-4)
