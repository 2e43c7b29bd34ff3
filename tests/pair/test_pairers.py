"""The strategies: hand-made groups, and properties that hold for all of them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.pair.base import Pairer
from prefine.registry import pairers
from prefine.schema import Comparison, Group, Score, make_candidate, make_group

SCORED = [
    {"name": "best_worst"},
    {"name": "best_random"},
    {"name": "max_margin"},
    {"name": "max_margin", "max_length_ratio": 1.5},
    {"name": "all_pairs"},
    {"name": "all_pairs", "duplicates": "collapse", "max_pairs": 2},
    {"name": "ranked"},
]


def group_of(texts: list[str], prompt: str = "why?") -> Group:
    group = make_group([{"role": "user", "content": prompt}])
    group.candidates = [make_candidate(group.id, t, key=str(i)) for i, t in enumerate(texts)]
    return group


def texts_of(example) -> list[str]:
    return [r[0]["content"] for r in example.responses]


def build(name: str, **settings) -> Pairer:
    return pairers.build({"name": name, **settings})


def test_best_worst_takes_the_ends():
    [found], reason = build("best_worst").pairs(group_of(["a", "b", "c"]), [0.5, 2.0, -1.0])
    assert reason is None
    assert texts_of(found) == ["b", "c"]
    assert found.scores == [2.0, -1.0]


def test_best_random_draws_among_the_strictly_worse():
    group, scores = group_of(["a", "b", "c", "d"]), [1.0, 1.0, 0.2, 0.9]
    seen = set()
    for seed in range(40):
        [found], _ = build("best_random", seed=seed, min_gap=0.05).pairs(group, scores)
        seen.add(tuple(texts_of(found)))
    assert seen == {(a, b) for a in "ab" for b in "cd"}


def test_max_margin_keeps_to_similar_lengths():
    group = group_of(["one two three four five six seven eight nine", "one two three", "four five", "x"])
    [found], _ = build("max_margin", max_length_ratio=1.5).pairs(group, [9.0, 3.0, 2.0, 0.0])
    # 9 words against 3, 3 against 1 and 2 against 1 are too far apart: only 3 against 2 is left.
    assert texts_of(found) == ["one two three", "four five"]
    lonely = group_of(["one two three four", "one"])
    assert build("max_margin", max_length_ratio=1.5).pairs(lonely, [1.0, 0.0]) == ([], "no_pair_of_similar_length")


def test_all_pairs_counts_each_better_over_each_worse():
    found, _ = build("all_pairs").pairs(group_of(["a", "b", "c", "d"]), [1.0, 1.0, 0.0, 0.0])
    assert {tuple(texts_of(e)) for e in found} == {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")}
    assert len({e.id for e in found}) == 4
    capped, _ = build("all_pairs", max_pairs=3).pairs(group_of(["a", "b", "c", "d"]), [3.0, 2.0, 1.0, 0.0])
    assert len(capped) == 3


def test_a_text_sampled_twice_counts_twice_or_once():
    group, scores = group_of(["a", "a ", "b"]), [1.0, 0.5, 0.0]
    kept, _ = build("all_pairs").pairs(group, scores)
    assert sorted(map(tuple, map(texts_of, kept))) == [("a", "b"), ("a ", "b")]
    [once], _ = build("all_pairs", duplicates="collapse").pairs(group, scores)
    assert once.scores == [0.75, 0.0]


def test_ranked_keeps_the_list_with_its_scores():
    [found], _ = build("ranked").pairs(group_of(["a", "b", "c", "d"]), [0.1, None, 0.9, 0.1])
    assert texts_of(found)[0] == "c"
    assert set(texts_of(found)[1:]) == {"a", "d"}
    assert found.scores == [0.9, 0.1, 0.1]


def test_ranked_can_demand_that_the_teacher_accepts_one_and_rejects_one():
    pairer = build("ranked", accepts_and_rejects=True)

    def outcome(*p: float | None):
        group = group_of(["a", "b", "c"][: len(p)])
        for c, value in zip(group.candidates, p, strict=True):
            c.scores = [Score("choice", 0.0), Score("choice", value, aspect="p")]
        return pairer.pairs(group, [float(i) for i in range(len(p))])[1]

    assert outcome(0.7, 0.5, 0.2) is None
    assert outcome(0.5, 0.4, 0.2) == "teacher_accepts_none"
    assert outcome(0.9, 0.6, 0.51) == "teacher_rejects_none"
    assert outcome(None, None, None) == "no_choice_probability"


@pytest.mark.parametrize("block", SCORED, ids=lambda b: "-".join(map(str, b.values())))
def test_reasons(block):
    pairer = pairers.build(block)
    assert pairer.pairs(group_of([]), []) == ([], "no_responses")
    assert pairer.pairs(group_of(["a", " a"]), [0.0, 1.0]) == ([], "fewer_than_2_distinct_responses")
    assert pairer.pairs(group_of(["a", "b"]), [1.0, None]) == ([], "fewer_than_2_scored_responses")
    assert pairer.pairs(group_of(["a", "b"]), [1.0, float("nan")]) == ([], "fewer_than_2_scored_responses")
    assert pairer.pairs(group_of(["a", " "]), [1.0, 0.0]) == ([], "fewer_than_2_scored_responses")
    assert pairer.pairs(group_of(["a", "b", "c"]), [1.0, 1.0, 1.0]) == ([], "all_scores_equal")
    assert pairers.build({**block, "min_gap": 0.5}).pairs(group_of(["a", "b"]), [1.0, 0.6]) == ([], "gap_below_min_gap")


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "b ", "c d", "e f g", ""]), st.sampled_from([None, 0.0, 0.1, 1.0]))
)


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from(SCORED), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 3), st.randoms())
def test_pairs_do_not_depend_on_order_and_are_never_ties(rows, block, min_gap, seed, rng: random.Random):
    group = group_of([text for text, _ in rows])
    scores = [score for _, score in rows]
    pairer = pairers.build({**block, "min_gap": min_gap, "seed": seed})
    found, reason = pairer.pairs(group, scores)
    assert bool(found) == (reason is None)
    order = rng.sample(range(len(rows)), len(rows))
    shuffled = group_of([])
    shuffled.candidates = [group.candidates[i] for i in order]
    assert pairer.pairs(shuffled, [scores[i] for i in order]) == (found, reason)
    for e in found:
        assert e.scores == sorted(e.scores, reverse=True)
        assert e.scores[0] - e.scores[-1] >= min_gap
        assert e.scores[0] > e.scores[-1]
        assert len({" ".join(t.split()) for t in texts_of(e)}) == len(e.responses)
        assert all(t.strip() for t in texts_of(e))


def test_given_follows_the_majority_and_drops_even_votes():
    group = group_of(["a", "b", "c"])
    a, b, c = (x.id for x in group.candidates)
    group.comparisons = [
        Comparison(a, b, "a", "h1"),
        Comparison(b, a, "b", "h2"),
        Comparison(a, b, "b", "h3"),
        Comparison(a, c, "a", "h1"),
        Comparison(a, c, "b", "h2"),
        Comparison(b, c, "tie", "h1"),
    ]
    found, reason = build("given").pairs(group, [None] * 3)
    assert [texts_of(e) for e in found] == [["a", "b"]]
    assert reason is None
    assert found[0].scores == []
    assert build("given").pairs(group, [0.1, 0.2, 0.3])[0][0].scores == [0.1, 0.2]


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [("ab", "contradictory"), ("t", "tie"), ("i", "no_usable_comparison"), ("", "no_comparisons")],
)
def test_given_says_why_there_is_no_pair(outcomes, reason):
    group = group_of(["x", "y"])
    words = {"a": "a", "b": "b", "t": "tie", "i": "invalid"}
    group.comparisons = [Comparison(*(c.id for c in group.candidates), words[o], "h") for o in outcomes]
    assert build("given").pairs(group, [None, None]) == ([], reason)


def test_given_does_not_pair_equal_texts():
    group = group_of(["x", "x "])
    group.comparisons = [Comparison(*(c.id for c in group.candidates), "a", "h")]
    assert build("given").pairs(group, [None, None]) == ([], "fewer_than_2_distinct_responses")


def test_responses_are_single_rows():
    group = group_of(["a", "b", "b", " "])
    for c, label in zip(group.candidates, (True, False, False, True), strict=True):
        c.labels = {"desirable": label}
    found, _ = build("responses").pairs(group, [None] * 4)
    assert sorted(texts_of(e)[0] for e in found) == ["a", "b"]
    assert [texts_of(e) for e in build("responses", which="desirable").pairs(group, [None] * 4)[0]] == [["a"]]
    assert [texts_of(e) for e in build("responses", which="best").pairs(group, [0.0, 2.0, 1.0, 9.0])[0]] == [["b"]]
    assert build("responses").pairs(group_of([" "]), [None]) == ([], "only_empty_responses")


def test_settings_out_of_range_are_refused():
    with pytest.raises(PrefineError, match="min_gap must be 0 or more, not -1"):
        build("best_worst", min_gap=-1.0)
    with pytest.raises(PrefineError, match="max_length_ratio must be 1 or more"):
        build("max_margin", max_length_ratio=0.5)
    with pytest.raises(PrefineError, match="max_pairs must be 1 or more"):
        build("all_pairs", max_pairs=0)
