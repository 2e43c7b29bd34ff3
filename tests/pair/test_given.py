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


def test_at_most_so_many_pairs_chosen_by_a_hash():
    names = "abcdef"
    made = make_group([{"role": "user", "content": "which?"}], list(names))
    ids = [c.id for c in made.candidates]
    made.comparisons = [Comparison(ids[i], ids[j], "a", "human") for i in range(6) for j in range(i + 1, 6)]

    def pairs(group, **settings):
        return {tuple(e.candidate_ids) for e in Given(**settings).pairs(group, [None] * 6)[0]}

    kept = pairs(made, max_pairs=5)
    assert len(pairs(made)) == 15 and len(kept) == 5
    assert pairs(made, max_pairs=2) < kept != pairs(made, max_pairs=5, seed=1)
    made.candidates.reverse()
    made.comparisons.reverse()
    assert pairs(made, max_pairs=5) == kept
    with pytest.raises(ValueError, match="max_pairs must be 1 or more"):
        Given(max_pairs=0)


def test_several_workers_are_a_majority_and_even_votes_no_pair():
    made = make_group([{"role": "user", "content": "post"}], ["one", "two", "three"])
    a, b, c = (x.id for x in made.candidates)
    votes = [(a, b, "a"), (a, b, "a"), (b, a, "a"), (a, c, "a"), (c, a, "a")]
    made.comparisons = [Comparison(x, y, o, f"human:{i}") for i, (x, y, o) in enumerate(votes)]
    examples, reason = Given().pairs(made, [None] * 3)
    assert [e.candidate_ids for e in examples] == [[a, b]] and reason is None
    made.comparisons = made.comparisons[3:]
    assert Given().pairs(made, [None] * 3) == ([], "contradictory")
