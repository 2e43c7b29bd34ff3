"""Controllable preference optimization and reward-augmented pairs: values by hand, and the bugs of the releases."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.conditions import asked, condition_text
from prefine.errors import PrefineError
from prefine.pair.stage import build as build_stage
from prefine.progress import Progress
from prefine.recipe import Pair
from prefine.registry import SettingError, pairers
from prefine.schema import Group, Score, make_candidate, make_group

NAMES = ["judge.helpfulness", "judge.honesty"]


def group_of(*ratings: tuple[float | None, ...], prompt: str = "why?", names: list[str] = NAMES) -> Group:
    """Responses "a", "b" ... with these ratings."""
    group = make_group([{"role": "user", "content": prompt}])
    for text, row in zip("abcdefgh", ratings, strict=False):
        candidate = make_candidate(group.id, text)
        for name, value in zip(names, row, strict=True):
            scorer, _, aspect = name.partition(".")
            candidate.scores.append(Score(scorer, value, aspect=aspect or None))
        group.candidates.append(candidate)
    return group


def texts_of(example) -> list[str]:
    return [r[0]["content"] for r in example.responses]


def controllable(conditions: dict, **settings):
    return pairers.build({"name": "controllable", "ratings": NAMES, "conditions": conditions, **settings})


def found_by(pairer, group: Group):
    return pairer.pairs(group, [None] * len(group.candidates))


A, B = (4.0, 3.0), (5.0, 5.0)


def test_without_a_condition_the_sum_of_the_ratings_decides():
    [pair], reason = found_by(controllable({}), group_of(A, B))
    assert reason is None
    assert texts_of(pair) == ["b", "a"] and pair.scores == [10.0, 7.0]
    assert pair.prompt == [{"role": "user", "content": "why?"}]


def test_a_target_turns_the_pair():
    [pair], _ = found_by(controllable({"judge.honesty": 3.0}), group_of(A, B))
    assert texts_of(pair) == ["a", "b"] and pair.scores == [4.0, 3.0]
    assert pair.prompt == [{"role": "user", "content": "<honesty: 3>\nwhy?"}]


def test_a_tie_is_no_pair():
    # Both are 3: 3 - 0 and 5 - 2. The released code takes the raw rating where the target is met exactly (6 against 3).
    assert found_by(controllable({"judge.honesty": 3.0}), group_of((3.0, 3.0), B)) == ([], "all_scores_equal")


@pytest.mark.acceptance(name="conditioning")
def test_an_exact_match_does_not_fall_through_to_the_raw_rating():
    pairer = controllable({"judge.helpfulness": 5.0, "judge.honesty": 1.0})
    # Both targets met, honesty missed by 1, and by 2: 0, -1 and -2. With that bug they are 6, 4 and 3.
    [pair], _ = found_by(pairer, group_of((5.0, 1.0), (5.0, 2.0), (5.0, 3.0)))
    assert texts_of(pair) == ["a", "c"] and pair.scores == [0.0, -2.0]
    # 3 + 0 against 4.5 - 1; with that bug 3 + 2, and the other one wins.
    [pair], _ = found_by(controllable({"judge.honesty": 2.0}), group_of((3.0, 2.0), (4.5, 3.0)))
    assert texts_of(pair) == ["b", "a"] and pair.scores == [3.5, 3.0]


def test_honesty_is_a_distance_from_the_target():
    # The released code takes -|honesty| - target, which always prefers the least honest response.
    [pair], _ = found_by(controllable({"judge.honesty": 5.0}), group_of((3.0, 1.0), (3.0, 5.0), (3.0, 4.0)))
    assert texts_of(pair) == ["b", "a"] and pair.scores == [3.0, -1.0]


@pytest.mark.acceptance(name="conditioning")
def test_penalty_and_weights():
    pairer = controllable({"judge.honesty": 3.0}, penalty=0.5, weights={"judge.honesty": 4.0, "judge.helpfulness": 2.0})
    # a: 2 * 4 - 4 * 0.5 * 0; b: 2 * 5 - 4 * 0.5 * 2.
    [pair], _ = found_by(pairer, group_of(A, B))
    assert texts_of(pair) == ["a", "b"] and pair.scores == [8.0, 6.0]


def test_ties_in_decimals_are_ties():
    group = group_of((0.0, 0.1), (0.0, 0.5))
    assert found_by(controllable({"judge.honesty": 0.3}), group) == ([], "all_scores_equal")


def test_a_list_of_targets_gives_a_pair_for_each():
    found, _ = found_by(controllable({"judge.honesty": [3.0, 5.0]}), group_of(A, B))
    assert [(e.prompt[-1]["content"].partition("\n")[0], texts_of(e)) for e in found] == [
        ("<honesty: 3>", ["a", "b"]),
        ("<honesty: 5>", ["b", "a"]),
    ]
    assert len({e.id for e in found}) == 2
    assert len(found_by(controllable({n: [1.0, 2.0, 5.0] for n in NAMES}), group_of(A, B))[0]) == 9


def test_the_order_of_the_objectives_changes_nothing():
    targets = {"judge.helpfulness": 5.0, "judge.honesty": 3.0}
    block = {"name": "controllable", "ratings": NAMES, "conditions": targets}
    other = {"name": "controllable", "ratings": NAMES[::-1], "conditions": dict(reversed(targets.items()))}
    group = group_of(A, B, (1.0, 2.0))
    assert found_by(pairers.build(block), group) == found_by(pairers.build(other), group)


def test_responses_without_a_rating_make_no_pair():
    pairer = controllable({"judge.honesty": 3.0})
    assert found_by(pairer, group_of(A, (5.0, None))) == ([], "fewer_than_2_scored_responses")
    assert found_by(pairer, group_of(A, (float("nan"), 5.0))) == ([], "fewer_than_2_scored_responses")
    assert found_by(pairer, group_of()) == ([], "no_responses")


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        (
            {"conditions": {"judge.honest": 1.0}},
            "conditions",
            "'judge.honest' is none of the ratings; valid names: judge",
        ),
        ({"weights": {"honesty": 1.0}}, "weights", "'honesty' is none of the ratings; valid names: judge.helpfulness"),
        ({"conditions": {"judge.honesty": []}}, "conditions", "empty list of targets"),
        ({"conditions": {"judge.honesty": "3"}}, "conditions", "must be a mapping"),
        ({"penalty": 0.0}, "penalty", "penalty must be positive, not 0.0"),
        ({"min_gap": -1.0}, "min_gap", "min_gap must be 0 or more"),
        ({"ratings": [], "conditions": {}}, "ratings", "ratings must name at least one"),
        ({"ratings": [*NAMES, NAMES[0]]}, "ratings", "not name a score twice"),
    ],
)
def test_settings_are_refused_when_the_recipe_is_read(changes, key, said):
    block = {"name": "controllable", "ratings": NAMES, "conditions": {}, **changes}
    with pytest.raises(SettingError) as caught:
        pairers.check(block)
    assert caught.value.key == key and said in str(caught.value)


def test_targets_that_read_the_same_and_ratings_of_one_word_are_refused():
    with pytest.raises(PrefineError, match="two targets that read the same"):
        controllable({"judge.honesty": [3.0, 3.001]})
    block = {"name": "controllable", "ratings": ["a.x", "b.x"], "conditions": {"a.x": 1.0, "b.x": 1.0}}
    with pytest.raises(PrefineError, match="two ratings 'x'"):
        pairers.build(block)


@pytest.mark.parametrize("name", ["controllable", "controllable_sft"])
def test_a_rating_that_nothing_has_is_named_with_the_nearest(name):
    more = {"conditions": {"judge.honestly": 3.0}} if name == "controllable" else {}
    section = Pair(pairer={"name": name, "ratings": ["judge.helpfulness", "judge.honestly"], **more})
    with pytest.raises(
        PrefineError, match=r"no response has a rating 'judge\.honestly'; did you mean 'judge\.honesty'"
    ):
        build_stage(section, [group_of(A, B)], Progress.silent())
    with pytest.raises(PrefineError, match="add a label section"):
        build_stage(section, [group_of((), (), names=[])], Progress.silent())


def sft(ratings: list[str] = NAMES):
    return pairers.build({"name": "controllable_sft", "ratings": ratings})


def test_each_response_is_asked_for_by_its_own_ratings():
    found, reason = found_by(sft(), group_of((4.0, 2.0), B))
    assert reason is None
    assert {texts_of(e)[0]: e.prompt for e in found} == {
        "a": [{"role": "user", "content": "<helpfulness: 4> <honesty: 2>\nwhy?"}],
        "b": [{"role": "user", "content": "<helpfulness: 5> <honesty: 5>\nwhy?"}],
    }
    assert len({e.id for e in found}) == 2
    assert sorted(found_by(sft(NAMES[::-1]), group_of((4.0, 2.0), B))[0], key=lambda e: e.id) == sorted(
        found, key=lambda e: e.id
    )


def test_a_response_without_a_rating_is_left_out_and_counted():
    groups = [group_of((4.0, 2.0), (None, 5.0)), group_of((1.0, None), prompt="how?")]
    section = Pair(pairer={"name": "controllable_sft", "ratings": NAMES})
    examples, counts, _ = build_stage(section, groups, Progress.silent())
    assert [texts_of(e) for e in examples] == [["a"]]
    assert (counts.rows_out, counts.dropped) == (1, {"no_response_has_every_rating": 1})
    assert counts.extra["responses_without_judge.helpfulness"] == 1
    assert counts.extra["responses_without_judge.honesty"] == 1


def test_equal_texts_are_one_row_unless_their_ratings_differ():
    group = group_of((4.0, 2.0), (4.0, 2.0), (4.0, 3.0))
    for i, candidate in enumerate(group.candidates):
        candidate.completion = [{"role": "assistant", "content": "same" + " " * i}]
    assert len(found_by(sft(), group)[0]) == 2
    group.candidates = group.candidates[:1]
    group.candidates[0].completion = [{"role": "assistant", "content": " "}]
    assert found_by(sft(), group) == ([], "only_empty_responses")
    assert found_by(sft(), group_of()) == ([], "no_responses")


def test_training_pairs_and_inference_have_the_identical_prompt():
    """The released scripts write "helpfulness" for SFT and "helplessness" for DPO: the condition means nothing then."""
    wanted = {"judge.helpfulness": 5.0, "judge.honesty": 5.0}
    group = group_of(A, B)
    by_text = {texts_of(e)[0]: e.prompt for e in found_by(sft(), group)[0]}
    [pair], _ = found_by(controllable(wanted), group)
    asked_for = asked(group, {"helpfulness": 5.0, "honesty": 5}).messages
    assert by_text["b"] == pair.prompt == asked_for
    assert pair.prompt[-1]["content"].startswith(condition_text(wanted) + "\n")


def test_a_prompt_that_asks_already_is_not_asked_twice():
    group = group_of(A, B)
    before = asked(group, {"honesty": 3.0})
    assert found_by(controllable({"judge.honesty": 3.0}), before)[0][0].prompt == before.messages
    with pytest.raises(PrefineError, match="already asks for <honesty: 3>"):
        found_by(controllable({"judge.honesty": 4.0}), before)


DIALOGUE = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "why?"},
]


def augmented(texts: list[str], scores: list[float | None], messages=DIALOGUE, **settings):
    group = make_group(messages, texts)
    return pairers.build({"name": "reward_augmented", **settings}).pairs(group, scores)


def goal_in(example) -> str:
    return example.prompt[0]["content"]


def test_each_pair_becomes_two_and_the_second_is_flipped():
    """The released variant without a system prompt rewrites the first message only: it flips no response."""
    (kept, flipped), reason = augmented(["good", "bad", "middling"], [9.0, 2.5, 4.0])
    assert reason is None
    assert goal_in(kept) == "Write a response with a score of 9." and texts_of(kept) == ["good", "bad"]
    assert goal_in(flipped) == "Write a response with a score of 2.5." and texts_of(flipped) == ["bad", "good"]
    assert kept.scores == flipped.scores == [0.0, -(6.5**2)]
    assert kept.candidate_ids == flipped.candidate_ids[::-1]
    assert kept.prompt[1:] == flipped.prompt[1:] == DIALOGUE
    assert len({kept.id, flipped.id}) == 2
    assert (kept.group_id, kept.split) == (flipped.group_id, flipped.split)


def test_a_system_message_keeps_its_text():
    messages = [{"role": "system", "content": "Be kind."}, *DIALOGUE]
    (kept, _), _ = augmented(["a", "b"], [1.0, 0.0], messages)
    assert kept.prompt == [
        {"role": "system", "content": "Write a response with a score of 1.\n\nBe kind."},
        *DIALOGUE,
    ]


def test_cut_off_responses_stay_marked_when_flipped():
    group = make_group(DIALOGUE, ["a", "b"])
    for candidate, reason in zip(group.candidates, ("stop", "length"), strict=True):
        candidate.finish_reason = reason
    kept, flipped = pairers.build({"name": "reward_augmented"}).pairs(group, [1.0, 0.0])[0]
    assert kept.finished == [True, False] and flipped.finished == [False, True]


@pytest.mark.acceptance(name="conditioning")
def test_flipping_twice_restores_the_pair():
    (kept, flipped), _ = augmented(["good", "bad"], [9.0, 2.5])
    assert flipped.responses[::-1] == kept.responses
    # Scores that are the other way round give the same two pairs: what is chosen under one goal is rejected under the
    # other, whichever response is the better one.
    (other, back), _ = augmented(["good", "bad"], [2.5, 9.0])
    assert (goal_in(other), texts_of(other)) == (goal_in(kept), texts_of(flipped))
    assert (goal_in(back), texts_of(back)) == (goal_in(flipped), texts_of(kept))


@pytest.mark.acceptance(name="conditioning")
def test_scores_that_read_the_same_make_one_pair_and_equal_ones_none():
    assert augmented(["a", "b"], [1.0, 1.0]) == ([], "all_scores_equal")
    [pair], _ = augmented(["a", "b"], [1.0, 1.001])
    assert goal_in(pair) == "Write a response with a score of 1." and texts_of(pair) == ["b", "a"]
    assert augmented(["a", "b"], [1.0, 0.6], min_gap=0.5) == ([], "gap_below_min_gap")
    assert augmented(["a"], [1.0]) == ([], "fewer_than_2_distinct_responses")


def test_every_pair_of_the_named_pairer_is_used():
    found, _ = augmented(["a", "b", "c"], [3.0, 2.0, 1.0], pairs="all_pairs")
    assert sorted((goal_in(e)[-2], *texts_of(e)) for e in found) == [
        ("1", "c", "a"),
        ("1", "c", "b"),
        ("2", "b", "a"),
        ("2", "b", "c"),
        ("3", "a", "b"),
        ("3", "a", "c"),
    ]
    assert len({e.id for e in found}) == 6
    assert len(augmented(["a", "b", "c"], [3.0, 2.0, 1.0], pairs="all_pairs", max_pairs=2)[0]) == 4
    texts = ["one two three four", "one two three", "one"]
    near, _ = augmented(texts, [3.0, 2.0, 1.0], pairs="max_margin", max_length_ratio=1.5)
    assert texts_of(near[0]) == texts[:2]
    assert len(augmented(["a", "b", "c"], [3.0, 2.0, 1.0], pairs="best_random")[0]) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pairs": "ranked"}, "must be one of 'best_worst'"),
        ({"max_pairs": 2}, "max_pairs is a setting of pairs: all_pairs, not of best_worst"),
        ({"max_length_ratio": 2.0}, "max_length_ratio is a setting of pairs: max_margin, not of best_worst"),
        ({"min_gap": -1.0}, "min_gap must be 0 or more"),
    ],
)
def test_settings_of_reward_augmented_are_refused(settings, said):
    with pytest.raises(SettingError, match=said):
        pairers.check({"name": "reward_augmented", **settings})


def test_what_inference_asks_for_is_what_the_best_response_was_trained_under():
    group = make_group(DIALOGUE, ["a", "b"])
    (kept, _), _ = pairers.build({"name": "reward_augmented"}).pairs(group, [9.25, 2.0])
    assert asked(group, goal=9.25).messages == kept.prompt


BLOCKS = [
    {"name": "controllable_sft", "ratings": NAMES},
    {"name": "controllable", "ratings": NAMES, "conditions": {"judge.honesty": [1.0, 3.0]}, "seed": 3},
    {"name": "reward_augmented", "seed": 1},
    {"name": "reward_augmented", "pairs": "all_pairs", "max_pairs": 2},
]
RATING = st.sampled_from([None, 1.0, 2.0, 3.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(RATING, RATING), max_size=6), st.sampled_from(BLOCKS), st.randoms())
def test_examples_do_not_depend_on_the_order_of_responses(rows, block, rng: random.Random):
    group, pairer = group_of(*rows), pairers.build(block)
    scores = [row[0] for row in rows]
    found, reason = pairer.pairs(group, scores)
    assert bool(found) == (reason is None)
    order = rng.sample(range(len(rows)), len(rows))
    other = group_of()
    other.candidates = [group.candidates[i] for i in order]
    assert pairer.pairs(other, [scores[i] for i in order]) == (found, reason)
    assert len({e.id for e in found}) == len(found)
    for e in found:
        assert e.group_id == group.id
        assert e.scores == sorted(e.scores, reverse=True)
        assert len(set(texts_of(e))) == len(e.responses) == pairer.group_size
