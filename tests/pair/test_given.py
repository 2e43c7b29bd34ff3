"""Comparisons that came with the data: whose, and how strong."""

import pytest

from prefine.pair.given import Given
from prefine.schema import Comparison, make_group


def group():
    made = make_group([{"role": "user", "content": "which?"}], ["first", "second", "third"])
    a, b, c = (x.id for x in made.candidates)
    made.comparisons = [
        Comparison(a, b, "a", "human:helpful", strength=3.0),
        Comparison(a, b, "b", "human:safe", strength=1.5),
        Comparison(b, c, "a", "human:helpful"),
    ]
    return made


def found(**settings):
    examples, reason = Given(**settings).pairs(group(), [None] * 3)
    texts = {tuple(r[-1]["content"] for r in e.responses) for e in examples}
    return texts, reason


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({}, {("second", "third")}),
        ({"judge": "human:helpful"}, {("first", "second"), ("second", "third")}),
        ({"judge": "human:safe"}, {("second", "first")}),
        ({"min_strength": 2.0}, {("first", "second")}),
        ({"judge": "human:safe", "min_strength": 1.5}, {("second", "first")}),
    ],
)
def test_only_the_judgements_asked_for_count(settings, texts):
    assert found(**settings) == (texts, None)


def test_none_of_them_is_a_reason():
    assert found(judge="human:other") == (set(), "no_comparison_of_this_judge_and_strength")
