from pathlib import Path

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.mt_bench import CATEGORIES, as_winner, category_of, parse_rating, read, scores
from prefine.evaluate.benchmarks.reading import Row


def rows(*values: dict) -> list[Row]:
    return [Row(v, Path("gpt-4_single.jsonl"), i) for i, v in enumerate(values, 1)]


def row(question: int, turn: int, score: float | None, template: str = "t", **more) -> dict:
    return {
        "question_id": question, "model": "m", "judge": ["gpt-4", template], "turn": turn, "score": score, **more
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[7]]", 7),
        ("Rating: [[8.5]]", 8.5),
        ("[[3]] or rather [[9]]", 3),
        # double brackets go first, wherever they stand
        ("step [2] gives [[6]]", 6),
        ("step [2] is fine", 2),
        ("Rating: 7", -1),
        ("[[7/10]]", -1),
        ("[[-3]]", -1),
        ("$ERROR$", -1),
        ("", -1),
    ],
)
def test_ratings_in_texts(text, rating):
    assert parse_rating(text) == rating


def test_categories_of_the_official_questions():
    assert [category_of(q, {}) for q in (81, 90, 91, 111, 160)] == [
        "writing",
        "writing",
        "roleplay",
        "math",
        "humanities",
    ]
    assert [category_of(q, {}) for q in (80, 161, "x")] == [None, None, None]
    assert category_of(81, {"81": "poems"}) == "poems"
    assert len({category_of(q, {}) for q in range(81, 161)}) == len(CATEGORIES) == 8


def test_failures_are_dropped_from_the_mean():
    ratings, _ = read(
        rows(
            row(81, 1, 8),
            row(82, 1, -1, judgment="$ERROR$"),
            row(83, 1, -1, judgment="no number"),
            row(84, 1, 12),
            row(85, 1, 0),
            row(86, 1, None),
            row(87, 1, 5),
        )
    )
    reasons = ["", "judge failed", "no rating", "outside 1 to 10", "outside 1 to 10", "no rating", ""]
    assert [r.reason for r in ratings] == reasons
    assert scores(ratings, {})["score"] == 6.5


def test_the_ends_of_the_scale_are_ratings():
    ratings, _ = read(rows(row(81, 1, 1), row(82, 1, 10)))
    assert [r.score for r in ratings] == [1, 10]


def test_a_rating_is_read_from_the_text_where_none_is_stored():
    values = row(81, 1, 0, judgment="Rating: [[9]]")
    del values["score"]
    (rating,), _ = read(rows(values))
    assert rating.score == 9
    # a stored rating stands, whatever the text
    (rating,), _ = read(rows(row(81, 1, 4, judgment="Rating: [[9]]")))
    assert rating.score == 4


def test_of_a_rating_made_again_the_last_valid_one_stands():
    ratings, again = read(
        rows(row(81, 1, 3), row(81, 1, 7), row(81, 1, -1), row(81, 2, -1), row(81, 2, -1), row(81, 1, 2, "other"))
    )
    assert again == 3
    assert [(r.turn, r.template, r.score) for r in ratings] == [(1, "t", 7), (2, "t", None), (1, "other", 2)]


def test_means_by_turn_category_and_over_all_ratings():
    # writing 81: 8 and 4; math 111: 6 and failed; math 112: 3 in turn 1 alone
    found = scores(read(rows(row(81, 1, 8), row(81, 2, 4), row(111, 1, 6), row(111, 2, -1), row(112, 1, 3)))[0], {})
    assert found["turn_1"] == pytest.approx(17 / 3) and found["turn_2"] == 4
    # over all ratings, not over turns or questions: 21 / 4
    assert found["score"] == pytest.approx(21 / 4)
    assert {c: e["value"] for c, e in found["categories"].items()} == {"writing": 6, "math": 4.5}
    assert found["categories"]["writing"]["n"] == 1, "intervals are over questions"
    assert found["low"] < 21 / 4 < found["high"]


def test_a_question_keeps_its_turns_when_it_is_resampled():
    # the same four ratings as two questions and as four: two are fewer independent ones
    two = scores(read(rows(row(81, 1, 9), row(81, 2, 9), row(82, 1, 1), row(82, 2, 1)))[0], {})
    four = scores(read(rows(row(81, 1, 9), row(82, 1, 9), row(83, 1, 1), row(84, 1, 1)))[0], {})
    assert two["score"] == four["score"] == 5
    assert two["turns"]["turn_1"]["standard_error"] > four["turns"]["turn_1"]["standard_error"]


def test_single_ratings_within_a_tenth_are_a_tie():
    assert as_winner(7.1, 7.0) == as_winner(3.0, 3.1) == "tie"
    assert as_winner(7.2, 7.0) == "model_1" and as_winner(7, 8) == "model_2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"turn": 3}, "turn: 3 is neither 1 nor 2"),
        ({"score": "7"}, 'score: "7" is not a number'),
        ({"question_id": None}, "no key 'question_id'"),
    ],
)
def test_bad_rows_are_named(change, message):
    with pytest.raises(PrefineError, match=f"gpt-4_single.jsonl: row 1: {message}"):
        read(rows(row(81, 1, 5) | change))
    with pytest.raises(PrefineError, match="no key 'score' or 'judgment'"):
        read(rows({"question_id": 81, "model": "m"}))
