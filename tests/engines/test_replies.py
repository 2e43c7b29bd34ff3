"""Reading replies with patience."""

import pytest

from prefine.engines.replies import json_items, json_objects, listed_lines, tagged, yes_or_no


@pytest.mark.parametrize(
    "text, items",
    [
        ('["a", "b"]', ["a", "b"]),
        ('Sure! Here they are:\n```json\n["a", {"task": "b"}]\n```\nEnjoy.', ["a", {"task": "b"}]),
        ('["a", "b", "c is cut of', ["a", "b"]),
        ('["a", {"task": "b", "inp', ["a"]),
        ('see [1] and [2]: ["a"]', ["a"]),
        ('["line\nbreak"]', ["line\nbreak"]),
        ("[]", []),
        ('{"task": "a"}\n{"task": "b"}', [{"task": "a"}, {"task": "b"}]),
        ("1. a\n2. b", None),
        ("", None),
        ('["a" "b"]', ["a", "b"]),
    ],
)
def test_the_items_of_a_list(text, items):
    assert json_items(text) == items


def test_objects_inside_objects_are_not_counted_twice():
    assert json_objects('x {"a": {"b": 1}} y {broken {"c": 2}') == [{"a": {"b": 1}}, {"c": 2}]


def test_lines_without_their_marks():
    text = "1. one\n\n 2) two\n- three\n* four\nTask 5: five\n12 monkeys\n3.5 is a number"
    assert listed_lines(text) == ["one", "two", "three", "four", "five", "12 monkeys", "3.5 is a number"]


def test_tags_reach_to_the_last_end():
    assert tagged("<x> a </x> b </x>", "x") == "a </x> b"
    assert tagged("<x> never ends", "x") is None
    assert tagged("</x> <x>", "x") is None


@pytest.mark.parametrize("text, said", [("Yes.", True), ("**no**, since yes", False), ("Know", None), ("", None)])
def test_yes_or_no(text, said):
    assert yes_or_no(text) is said
