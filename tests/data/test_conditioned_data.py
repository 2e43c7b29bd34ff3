"""`data.condition` and `data.goal`: in every prompt, and without effect on ids and splits."""

from __future__ import annotations

import json

import pytest

from prefine.conditions import asked, goal_of, targets, unasked
from prefine.data.load import load
from prefine.data.split import split_of
from prefine.errors import PrefineError
from prefine.recipe import Data
from prefine.schema import group_to_row


@pytest.fixture
def source(tmp_path):
    rows = [{"prompt": f"Question {i}", "chosen": "yes", "rejected": "no"} for i in range(60)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


CONDITION = {"honesty": 3, "helpfulness": 4.0}


def test_every_prompt_asks_and_ids_and_splits_stay(source):
    plain = load(Data(path=source, test_fraction=0.3, limit=40)).groups
    found = load(Data(path=source, test_fraction=0.3, limit=40, condition=CONDITION, goal=9.5)).groups
    assert {g.split for g in plain} == {"train", "test"}
    assert [(g.id, g.split) for g in found] == [(g.id, g.split) for g in plain]
    assert found[0].messages == [
        {"role": "system", "content": "Write a response with a score of 9.5."},
        {"role": "user", "content": "<helpfulness: 4> <honesty: 3>\n" + plain[0].prompt},
    ]
    assert targets(found[0]) == {"helpfulness": 4.0, "honesty": 3.0} and goal_of(found[0]) == 9.5
    assert [g.messages for g in map(unasked, found)] == [g.messages for g in plain]
    assert [g.candidates for g in found] == [g.candidates for g in plain]


def test_the_prompt_is_that_of_training(source):
    plain = load(Data(path=source)).groups
    found = load(Data(path=source, condition={"judge.honesty": 3.0})).groups
    assert [g.messages for g in found] == [asked(g, {"honesty": 3.0}).messages for g in plain]


@pytest.mark.parametrize("salt", ["a", "b", "c"])
def test_read_again_as_data_a_prompt_falls_into_the_split_it_had(source, tmp_path, salt):
    plain = load(Data(path=source, test_fraction=0.5, split_salt=salt)).groups
    found = load(Data(path=source, test_fraction=0.5, split_salt=salt, condition=CONDITION)).groups
    assert [split_of(g, 0.5, salt) for g in found] == [g.split for g in plain]
    again = tmp_path / "again.jsonl"
    again.write_text("".join(json.dumps(group_to_row(g)) + "\n" for g in found))
    loaded = load(Data(path=str(again), test_fraction=0.5, split_salt=salt)).groups
    assert [g.split for g in loaded] == [g.split for g in plain]
    assert [targets(g) for g in loaded] == [{"helpfulness": 4.0, "honesty": 3.0}] * len(loaded)
    # What it asks for already is not asked twice.
    twice = load(Data(path=str(again), condition=CONDITION)).groups
    assert [g.messages for g in twice] == [g.messages for g in found]


def test_the_groups_of_a_function_are_not_changed(tmp_path, monkeypatch):
    (tmp_path / "source_of_mine.py").write_text(
        "from prefine.schema import make_group\n"
        "GROUPS = [make_group([{'role': 'user', 'content': 'q'}], ['a'])]\n"
        "def rows():\n    return GROUPS\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    first = load(Data(path="source_of_mine:rows", goal=1.0)).groups
    second = load(Data(path="source_of_mine:rows", goal=2.0)).groups
    assert [goal_of(g) for g in (*first, *second)] == [1.0, 2.0]
    assert load(Data(path="source_of_mine:rows")).groups[0].messages == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    "wrong", [{"condition": {"a>b": 1.0}}, {"condition": {"a": float("nan")}}, {"goal": float("inf")}]
)
def test_what_cannot_be_asked_is_an_error_before_reading(wrong):
    with pytest.raises(PrefineError, match=r"data\.condition and data\.goal: "):
        load(Data(path="no_such_file.jsonl", **wrong))
