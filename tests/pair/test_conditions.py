"""The text that asks for ratings or a score: one spelling, put in one place, and taken out again."""

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.conditions import (
    asked,
    asking,
    condition_text,
    goal_of,
    goal_text,
    number_text,
    rating_word,
    targets,
    unasked,
    with_condition,
    with_goal,
)
from prefine.errors import PrefineError
from prefine.schema import Example, Group, make_group


def user(text: str):
    return {"role": "user", "content": text}


def system(text: str):
    return {"role": "system", "content": text}


def assistant(text: str):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.0, "4"), (4, "4"), (-3.5, "-3.5"), (13 / 3, "4.33"), (0.1 + 0.2, "0.3"), (-0.001, "0"), (100.0, "100")],
)
def test_numbers_have_one_spelling(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="must be a finite number"):
        number_text(value)


def test_the_order_of_the_objectives_does_not_change_the_text():
    rows = [("judge.helpfulness", 4.0), ("honesty", 2.0), ("truth", 5.0)]
    texts = {condition_text(dict(order)) for order in itertools.permutations(rows)}
    assert texts == {"<helpfulness: 4> <honesty: 2> <truth: 5>"}
    assert condition_text({}) == ""


def test_a_rating_is_named_by_its_aspect():
    assert rating_word("judge.honesty") == rating_word("honesty") == "honesty"
    assert rating_word("gpt-4.1") == "gpt-4.1"
    with pytest.raises(ValueError, match="two ratings 'honesty'"):
        condition_text({"a.honesty": 1.0, "b.honesty": 1.0})
    for name in ("", "a>b", "a\nb"):
        with pytest.raises(ValueError, match="cannot name the rating"):
            rating_word(name)


def test_a_condition_stands_before_the_last_user_turn_and_a_goal_in_the_system_message():
    dialogue = [system("Be kind."), user("hi"), assistant("hello"), user("why?")]
    before = copy.deepcopy(dialogue)
    assert with_condition(dialogue, {"honesty": 3.0}) == [*before[:3], user("<honesty: 3>\nwhy?")]
    text = "Write a response with a score of 8.5."
    assert with_goal(dialogue, 8.5) == [system(f"{text}\n\nBe kind."), *before[1:]]
    assert with_goal(dialogue[1:], 8.5) == [system(text), *before[1:]]
    assert goal_text(8.5) == text
    assert with_condition(dialogue, {}) == dialogue == before


MESSAGES = st.builds(
    lambda head, turns: [*([system(head)] if head is not None else []), *turns],
    st.none() | st.text(max_size=8),
    st.lists(st.sampled_from([user("a"), user(""), assistant("b"), {"role": "tool", "content": "c"}]), min_size=1),
)
NUMBERS = st.floats(-1e6, 1e6)


@given(MESSAGES, st.dictionaries(st.sampled_from(["a", "s.b", "c"]), NUMBERS), st.none() | NUMBERS)
def test_what_was_asked_can_be_taken_out_again(messages, ratings, goal):
    group = make_group(messages, ["r"], task_meta={"k": "v"})
    before = copy.deepcopy(group)
    found = asked(group, ratings, goal)
    assert group == before
    assert unasked(found) == group
    assert (found.id, found.candidates) == (group.id, group.candidates)
    assert targets(found) == {rating_word(k): v for k, v in ratings.items()}
    assert goal_of(found) == goal
    # Asking once more changes nothing.
    assert asked(found, ratings, goal) == found


def test_a_prompt_asks_for_one_thing_only():
    group = asked(make_group([user("q")]), {"honesty": 3.0}, 8.0)
    assert asked(group, {"judge.honesty": 3.0}) == group
    with pytest.raises(PrefineError, match="already asks for <honesty: 3>, so it cannot ask for <honesty: 4>"):
        asked(group, {"honesty": 4.0})
    with pytest.raises(PrefineError, match="already asks for the score 8"):
        asked(group, goal=9.0)


def test_an_example_that_asks_has_an_id_of_its_own():
    item = Example("x", "g", [user("q")], [[assistant("a")], [assistant("b")]], ["1", "2"])
    ids = {asking(item, with_goal(item.prompt, g)).id for g in (1.0, 2.0)} | {item.id}
    assert len(ids) == 3
    assert asking(item, list(item.prompt)) is item
    assert asking(item, with_goal(item.prompt, 1.0)).id in ids


def test_the_source_group_class_is_kept():
    assert type(asked(make_group([user("q")]), {"a": 1.0})) is Group
