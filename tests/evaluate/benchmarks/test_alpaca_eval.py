import math
from pathlib import Path

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.alpaca_eval import (
    bounds,
    first_token,
    is_switched,
    preference_from_logprobs,
    read,
    unswitched,
    win_rates,
)
from prefine.evaluate.benchmarks.reading import Row


def rows(*values: dict, name: str = "model.jsonl") -> list[Row]:
    return [Row(v, Path(name), i) for i, v in enumerate(values, 1)]


def test_preference_is_normalized_over_the_two_names_alone():
    # P(m) = .6 / (.6 + .2) = .75, whatever the third token has; preference 2 - .75
    logprobs = {"m": math.log(0.6), "M": math.log(0.2), "The": math.log(0.2)}
    assert preference_from_logprobs(logprobs) == pytest.approx(1.25)
    assert preference_from_logprobs({"m": -3.0, "M": -3.0}) == 1.5


def test_an_absent_name_has_no_probability_and_without_both_there_is_no_preference():
    assert preference_from_logprobs({"m": -20.0, "The": -0.1}) == 1.0
    assert preference_from_logprobs({"M": -20.0}) == 2.0
    assert preference_from_logprobs({"The": -0.1, " m": -0.2}) is None
    assert preference_from_logprobs({}) is None


def test_extreme_logprobs_do_not_overflow():
    assert preference_from_logprobs({"m": -9000.0, "M": 0.0}) == pytest.approx(2.0)
    assert preference_from_logprobs({"m": 0.0, "M": -9000.0}) == 1.0


def test_the_coin_depends_on_the_instruction_alone():
    # by Python's generator, seeded with "is_switched_outputs" + instruction + "0"
    texts = ["Name three rivers.", "Why is the sky blue?", "Write a limerick.", "Sort these numbers."]
    assert [is_switched(t) for t in texts] == [True, True, False, False]
    share = sum(is_switched(f"question {i}") for i in range(4000)) / 4000
    assert share == pytest.approx(0.5, abs=0.03)


def test_a_switched_preference_is_turned_around():
    assert unswitched(1.25, True) == 1.75 and unswitched(1.25, False) == 1.25


def test_win_rates_by_hand():
    # p = 0, 1, .5, .9: mean .6; squares about it .36 + .16 + .01 + .09 = .62; error sqrt(.62 / 3 / 4)
    found = win_rates([1.0, 2.0, 1.5, 1.9])
    assert found["win_rate"] == pytest.approx(60)
    assert found["standard_error"] == pytest.approx(100 * math.sqrt(0.62 / 12))
    assert (found["n_wins"], found["n_wins_base"], found["n_draws"]) == (2, 1, 1)
    assert found["discrete_win_rate"] == pytest.approx(62.5)
    assert found["low"] < 60 < found["high"]


def test_win_rates_of_nothing_and_of_one():
    assert win_rates([])["win_rate"] is None and win_rates([])["n_wins"] == 0
    assert win_rates([2.0])["standard_error"] is None and win_rates([2.0])["win_rate"] == 100


def test_missing_verdicts_bound_the_result():
    # wins .5 + 1 of 2; two missing: 1.5 / 4 to 3.5 / 4
    assert bounds([1.5, 2.0], 2) == (37.5, 87.5)
    assert bounds([], 0) is None


def test_stored_preferences_old_draws_and_failures():
    values = [0, 1.5, 2, None, float("nan"), 2.5]
    (judged,) = read(rows(*({"preference": p, "output_1": "a", "output_2": "bb"} for p in values)))
    assert [a.preference for a in judged.annotations] == [1.5, 1.5, 2, None, None, None]
    assert judged.failed == {"no preference": 2, "preference outside [1, 2]": 1}
    assert [(a.len_1, a.len_2, a.row) for a in judged.annotations[:2]] == [(1, 2, 0), (1, 2, 1)]
    assert judged.model == "model"


def logprobs(m: float, capital: float) -> dict:
    """A completion as the API returns it."""
    top = [{"token": "m", "logprob": m}, {"token": "M", "logprob": capital}]
    return {"logprobs": {"content": [{"token": "m", "top_logprobs": top}, {"token": "x", "top_logprobs": []}]}}


def test_without_stored_preferences_they_come_from_the_log_probs():
    completion = logprobs(math.log(0.9), math.log(0.1))
    (judged,) = read(
        rows(
            {"instruction": "Name three rivers.", "raw_completion": completion, "len_1": 5, "len_2": 9},
            {"instruction": "Write a limerick.", "raw_completion": completion, "len_1": 5, "len_2": 9},
            {"instruction": "Write a limerick.", "raw_completion": completion, "is_switched_outputs": True},
            {"instruction": "Write a limerick.", "output_1": "same", "output_2": "same"},
            {"instruction": "Write a limerick.", "top_logprobs": {"The": -0.1}},
        )
    )
    # the first shown wins with .9: it is the candidate where the coin (or the file) says switched
    assert [a.preference for a in judged.annotations] == [
        pytest.approx(1.9), pytest.approx(1.1), pytest.approx(1.9), 1.5, None
    ]  # fmt: skip
    assert judged.failed == {"neither answer named": 1}
    assert judged.first == [pytest.approx(0.9)] * 3


def test_stored_preferences_are_checked_against_log_probs_and_coin():
    completion = logprobs(math.log(0.9), math.log(0.1))
    (judged,) = read(
        rows(
            {"instruction": "Name three rivers.", "preference": 1.9, "raw_completion": completion},
            {"instruction": "Write a limerick.", "preference": 1.9, "raw_completion": completion},
            {"preference": 1.3, "raw_completion": completion},
        )
    )
    # the second was shown switched, and its coin says it was not; the third fits neither order, the nearer is 1.1
    assert judged.coins == {True: 1, False: 1}
    assert judged.differences == pytest.approx([0, 0, 0.2])


def test_models_of_one_file_are_kept_apart():
    found = read(rows({"preference": 1, "generator_2": "a"}, {"preference": 2, "generator_2": "b"}))
    assert [(j.model, len(j.annotations)) for j in found] == [("a", 1), ("b", 1)]
    with pytest.raises(PrefineError, match="row 2: generator_1: 'y', but 'x' in earlier rows"):
        read(rows({"preference": 1, "generator_1": "x"}, {"preference": 2, "generator_1": "y"}))


def test_what_is_missing_is_named():
    with pytest.raises(PrefineError, match=r"model.jsonl: row 1: no key 'preference'"):
        read(rows({"prefference": 1}))
    with pytest.raises(PrefineError, match="no key 'instruction'"):
        read(rows({"top_logprobs": {"m": -1.0}}))
    with pytest.raises(PrefineError, match="top_logprobs"):
        first_token(rows({"top_logprobs": "m"})[0])
