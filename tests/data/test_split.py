"""Splits depend on the prompt alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.data.split import first_by_hash, split_of
from prefine.schema import make_group


def group(*turns: str):
    roles = ("user", "assistant")
    return make_group([{"role": roles[i % 2], "content": t} for i, t in enumerate(turns)], ["x"])


@pytest.mark.acceptance(name="split_stability")
def test_adding_and_shuffling_rows_moves_nothing():
    first = [group(f"prompt {i}") for i in range(300)]
    before = {g.id: split_of(g, 0.2, "s") for g in first}
    more = first + [group(f"other {i}") for i in range(300)]
    random.Random(0).shuffle(more)
    after = {g.id: split_of(g, 0.2, "s") for g in more}
    assert all(after[i] == split for i, split in before.items())
    assert 0.15 < sum(s == "test" for s in after.values()) / 600 < 0.25


@pytest.mark.acceptance(name="split_stability")
@given(first=st.text(min_size=1), rest=st.lists(st.text(min_size=1), min_size=1, max_size=4), salt=st.text())
def test_depths_of_one_dialogue_stay_together(first, rest, salt):
    turns = [first, *rest]
    whole = turns if len(turns) % 2 else turns[:-1]
    assert split_of(group(first), 0.5, salt) == split_of(group(*whole), 0.5, salt)


def test_spacing_and_case_do_not_part_equal_prompts():
    assert {split_of(group(t), 0.5, "s") for t in ("What is  it?\n", "what is it?", "What Is It?")} in (
        {"train"},
        {"test"},
    )


def test_a_larger_test_fraction_only_adds():
    groups = [group(f"prompt {i}") for i in range(200)]
    small, large = ({g.id for g in groups if split_of(g, f, "s") == "test"} for f in (0.1, 0.3))
    assert small < large and not {g.id for g in groups if split_of(g, 0.0, "s") == "test"}
    assert {split_of(g, 1.0, "s") for g in groups} == {"test"}


def test_a_key_of_the_source_decides():
    a, b = group("one"), group("two")
    a.task_meta["split_key"] = b.task_meta["split_key"] = "same post"
    assert all(split_of(a, 0.5, str(s)) == split_of(b, 0.5, str(s)) for s in range(40))


def test_a_limited_selection_has_both_splits():
    kept = first_by_hash([group(f"prompt {i}") for i in range(500)], 100, "s")
    assert 20 < sum(split_of(g, 0.4, "s") == "test" for g in kept) < 60
