"""Which score decides."""

import json

import pytest

from prefine.errors import PrefineError
from prefine.pair.selection import mixed, weights
from prefine.schema import Score, make_group

from ..conftest import shared


def group_with(*rows: dict[str, float | None]):
    group = make_group([{"role": "user", "content": "q"}], [f"r{i}" for i in range(len(rows))])
    for c, row in zip(group.candidates, rows, strict=True):
        c.scores = [_score(name, value) for name, value in row.items()]
    return group


def _score(name: str, value: float | None) -> Score:
    scorer, _, aspect = name.partition(".")
    return Score(scorer, value, aspect=aspect or None)


def test_the_only_scorer_is_taken():
    group = group_with({"choice": -0.1, "choice.p": 0.9}, {"choice": -2.0, "choice.p": 0.1})
    assert weights(None, [group]) == {"choice": 1.0}


def test_several_scorers_must_be_chosen_from():
    group = group_with({"choice": 0.0, "likelihood": -1.0})
    with pytest.raises(PrefineError, match=r"several scorers \(choice, likelihood\)"):
        weights(None, [group])
    assert weights(None, [group], required=False) == {}
    assert weights("likelihood", [group]) == {"likelihood": 1.0}


def test_scores_that_only_held_out_prompts_have_do_not_count():
    held_out = group_with({"likelihood": 0.0, "human": 1.0})
    held_out.split = "test"
    assert weights(None, [group_with({"likelihood": -1.0}), held_out]) == {"likelihood": 1.0}
    assert weights("human", [group_with({"likelihood": -1.0}), held_out]) == {"human": 1.0}


def test_unknown_scorers_and_no_scores_are_named():
    group = group_with({"likelihood": -1.0})
    with pytest.raises(PrefineError, match="did you mean 'likelihood'"):
        weights("likelyhood", [group])
    with pytest.raises(PrefineError, match="add a label section"):
        weights(None, [group_with({})])
    with pytest.raises(PrefineError, match="weight other than 0"):
        weights({"likelihood": 0.0}, [group])


def test_a_mix_has_no_value_where_one_part_has_none():
    group = group_with({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": None}, {"a": 2.0})
    mix = weights({"a": 0.5, "b": 2.0}, [group])
    assert [mixed(c, mix) for c in group.candidates] == [6.5, None, None]


def test_an_aspect_can_decide():
    group = group_with({"judge": 1.0, "judge.honesty": 5.0})
    assert mixed(group.candidates[0], weights("judge.honesty", [group])) == 5.0


def test_the_latest_score_counts():
    group = group_with({"a": 1.0})
    group.candidates[0].scores.append(Score("a", 7.0))
    assert mixed(group.candidates[0], {"a": 1.0}) == 7.0


def test_the_published_mix_of_likelihood_and_choice():
    golden = json.loads(shared("design/objectives_vectors.json").read_text())
    rows = [{"likelihood": a, "choice": c} for a, c in zip((-0.9, -1.4, -1.0), golden["mcq.s"], strict=True)]
    group = group_with(*rows)
    for alpha, key in ((0.0, "pad.cal0"), (0.5, "pad.cal.5")):
        mix = weights({"likelihood": alpha, "choice": 1 - alpha}, [group])
        assert [mixed(c, mix) for c in group.candidates] == pytest.approx(golden[key], abs=1e-7)
