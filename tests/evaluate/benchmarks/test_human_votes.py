import json
from pathlib import Path

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.human_votes import Comparison, agreement, read, read_pairs
from prefine.evaluate.benchmarks.reading import Row

ONE, TWO = "model_1", "model_2"


def rows(*values: dict) -> list[Row]:
    return [Row(v, Path("pair.jsonl"), i) for i, v in enumerate(values, 1)]


def pair(question: int, first: str, swapped: str, **more) -> dict:
    return {
        "question_id": question, "model_1": "a", "model_2": "b", "g1_winner": first, "g2_winner": swapped,
        "judge": ["gpt-4", "pair-v2"], "turn": 1, **more,
    }  # fmt: skip


def test_pairs_are_read_with_their_verdicts():
    texts = {"g1_winner": None, "g2_winner": None, "g1_judgment": "[[A]]", "g2_judgment": "[[A]]"}
    found = read_pairs(rows(pair(81, ONE, ONE), pair(82, ONE, TWO), pair(83, "", "") | texts))
    # in the last one A is the first model, then the second: the orders disagree
    assert [c.winner for c, _ in found] == [ONE, "tie", "tie"]
    assert found[2][1].first == ONE and found[2][1].swapped == TWO
    assert found[0][0] == Comparison("81", 1, "a", "b", ONE, "gpt-4")


def test_of_a_comparison_made_again_the_last_valid_one_stands():
    swapped = {"model_1": "b", "model_2": "a"}
    found = read_pairs(
        rows(pair(81, ONE, ONE), pair(81, TWO, TWO) | swapped, pair(81, "error", ONE), pair(81, ONE, ONE, turn=2))
    )
    assert [(c.turn, c.vote) for c, _ in found] == [(1, "=a"), (2, "=a")]


def test_agreement_by_hand(tmp_path):
    votes = [
        {"question_id": 81, "model_a": "a", "model_b": "b", "winner": "model_a", "judge": "expert_0", "turn": 1},
        {"question_id": 81, "model_a": "b", "model_b": "a", "winner": "model_a", "judge": "expert_1", "turn": 1},
        {"question_id": 81, "model_a": "b", "model_b": "a", "winner": "tie", "judge": "expert_2", "turn": 1},
        {"question_id": 82, "model_a": "a", "model_b": "b", "winner": "tie (bothbad)", "judge": "expert_0", "turn": 1},
        {"question_id": 83, "model_a": "a", "model_b": "b", "winner": "model_b", "judge": "expert_0", "turn": 2},
        {"question_id": 99, "model_a": "a", "model_b": "b", "winner": "model_b", "judge": "expert_0", "turn": 2},
    ]
    (tmp_path / "human.json").write_text(json.dumps(votes))
    judged = [c for c, _ in read_pairs(rows(pair(81, ONE, ONE), pair(82, ONE, TWO), pair(83, TWO, TWO, turn=2)))]
    found = agreement(judged, read(tmp_path / "human.json"))
    # 81: a against a, b, tie; 82: the judge's inconsistent verdict is a tie, as is the vote
    assert found["gpt-4"]["turn_1"]["with_ties"] == {"agree": 2, "total": 4, "percent": 50}
    # without ties: a against a and b
    assert found["gpt-4"]["turn_1"]["without_ties"] == {"agree": 1, "total": 2, "percent": 50}
    assert found["gpt-4"]["turn_2"]["with_ties"] == {"agree": 1, "total": 1, "percent": 100}
    # people among themselves, question 81: a-b, a-tie, b-tie
    assert found["humans"]["turn_1"]["with_ties"] == {"agree": 0, "total": 3, "percent": 0}
    assert found["humans"]["turn_1"]["without_ties"]["total"] == 1


def test_the_order_of_two_models_does_not_matter():
    mine = Comparison("1", 1, "a", "b", ONE, "j")
    assert (
        mine.key == Comparison("1", 1, "b", "a", TWO, "j").key
        and mine.vote == Comparison("1", 1, "b", "a", TWO, "j").vote
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pair(81, "modle_1", ONE), "g1_winner: 'modle_1' is none of"),
        (pair(81, ONE, ONE, model_2=None), "no key 'model_2'"),
        ({"question_id": 1, "model_1": "a", "model_2": "b"}, "no key 'g1_winner' or 'g1_judgment'"),
    ],
)
def test_bad_pairs_are_named(row, message):
    with pytest.raises(PrefineError, match=f"pair.jsonl: row 1: {message}"):
        read_pairs(rows(row))


def test_bad_votes_are_named(tmp_path):
    (tmp_path / "v.json").write_text('[{"question_id": 1, "model_a": "a", "model_b": "b", "winner": "A"}]')
    with pytest.raises(PrefineError, match="row 1: winner: 'A' is none of model_a, model_b, tie"):
        read(tmp_path / "v.json")
