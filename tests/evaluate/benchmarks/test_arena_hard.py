from pathlib import Path

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.arena_hard import LABELS, Vote, parse_verdict, read, version_of, vote
from prefine.evaluate.benchmarks.reading import Row


def rows(*values: dict, name: str = "model.jsonl") -> list[Row]:
    return [Row(v, Path(name), i) for i, v in enumerate(values, 1)]


def old(*labels: str | None, **more) -> dict:
    return {"question_id": "q", "model": "m", "judge": "j", "games": [{"score": s} for s in labels], **more}


def new(*labels: str | None, **more) -> dict:
    games = [None if s == "no game" else {"score": s} for s in labels]
    return {"uid": "u", "model": "lab/m", "judge": "j", "category": "hard_prompt", "games": games, **more}


@pytest.mark.parametrize(
    ("text", "v01", "v20"),
    [
        ("My final verdict is tie: [[A=B]].", ("A=B", False), ("A=B", False)),
        ("verdict: [[a>>b]]", ("A>>B", False), ("A>>B", False)),
        # single brackets count where there are no double ones, and only there
        ("So [B>A] it is.", ("B>A", False), ("B>A", False)),
        ("[A>B] at first, but [[B>A]]", ("B>A", False), ("B>A", False)),
        # v0.1: several different labels are no verdict at once; v2.0: the last one wins
        ("[[A>B]] no, [[B>A]]", (None, False), ("B>A", False)),
        ("[[A>B]] indeed [[A>B]]", ("A>B", False), ("A>B", False)),
        # no label: v0.1 asks the judge to go on
        ("I cannot decide.", (None, True), (None, False)),
        ("[[]] [[C]]", (None, True), (None, False)),
        # what only looks like a label is a label for the search, but no verdict
        ("[[A>>>B]]", (None, False), (None, False)),
        ("[[A<B]]", (None, False), ("A<B", False)),
    ],
)
def test_verdicts_in_texts(text, v01, v20):
    assert parse_verdict(text, "v0.1") == v01
    assert parse_verdict(text, "v2.0") == v20


@pytest.mark.parametrize(
    ("label", "for_a", "weight"),
    [("A>>B", 1, 3), ("A>B", 1, 1), ("A=B", 0.5, 1), ("B>A", 0, 1), ("B>>A", 0, 3)],
)
@pytest.mark.parametrize("version", LABELS)
def test_votes_are_the_candidates(label, for_a, weight, version):
    # game 0: A is the baseline; game 1: A is the candidate
    assert vote(label, 0, version) == Vote(0, 1 - for_a, weight)
    assert vote(label, 1, version) == Vote(1, for_a, weight)


@pytest.mark.parametrize(
    ("label", "same"), [("A<B", "B>A"), ("A<<B", "B>>A"), ("B<A", "A>B"), ("B<<A", "A>>B"), ("B=A", "A=B")]
)
def test_other_spellings_count_in_v20_alone(label, same):
    assert vote(label, 0, "v2.0") == vote(same, 0, "v2.0")
    assert vote(label, 0, "v0.1") is None


def test_v01_drops_a_game_without_verdict_alone():
    (j,) = read(rows(old("B>>A", None)), "v0.1")
    assert j.votes == (Vote(0, 1.0, 3),) and j.failed == 1
    assert (j.score, j.weight, j.baseline) == (1.0, 3, "gpt-4-0314")


def test_v20_drops_the_whole_prompt():
    found = read(rows(new("B>>A", None), new("B>A", "no game", uid="v"), new("B>A", "A=B", uid="w")), "v2.0")
    assert [(j.votes, j.failed) for j in found[:2]] == [((), 1), ((), 1)]
    assert found[2].votes == (Vote(0, 1.0, 1), Vote(1, 0.5, 1))
    assert read(rows(new("B>A")), "v2.0")[0].failed == 1, "a game that was never played is missing, too"


def test_the_mean_vote_of_a_prompt_by_hand():
    # game 0: B>>A, three votes won; game 1: B>A, one vote lost: 3 of 4
    (j,) = read(rows(old("B>>A", "B>A")), "v0.1")
    assert (j.score, j.weight) == (0.75, 4)


def test_one_order_is_enough_for_v01():
    (j,) = read(rows(old("A=B")), "v0.1")
    assert j.votes == (Vote(0, 0.5, 1),) and j.failed == 0


def test_baselines_and_names():
    found = read(rows(new("A=B", "A=B"), new("A=B", "A=B", category="creative_writing")), "v2.0")
    assert [j.baseline for j in found] == ["o3-mini-2025-01-31", "gemini-2.0-flash-001"]
    assert {j.model for j in found} == {"m"}, "the folder before a model's name is not part of it"
    assert read(rows(new("A=B", "A=B", baseline="own")), "v2.0")[0].baseline == "own"
    assert read(rows(old("A=B")), "v0.1", "mine")[0].baseline == "mine"
    with pytest.raises(PrefineError, match="category 'poems' has none of its own; name it with --baseline"):
        read(rows(new("A=B", "A=B", category="poems")), "v2.0")


def test_a_prompt_judged_again_counts_once():
    found = read(rows(old("A>B", "A>B"), old("B>A", "B>A"), old("A=B", "A=B", model="n")), "v0.1")
    assert [(j.model, j.score) for j in found] == [("m", 0.5), ("n", 0.5)]
    assert found[0].votes[0].outcome == 1.0


def test_verdicts_are_read_from_texts_where_none_is_stored():
    games = [{"judgment": "[[B>A]]"}, {"judgment": {"answer": "well, [[a>>b]]"}}]
    (j,) = read(rows({"question_id": 3, "games": games}), "v0.1")
    assert j.votes == (Vote(0, 1.0, 1), Vote(1, 1.0, 3)) and (j.question, j.model) == ("3", "model")


def test_versions_are_told_apart():
    assert version_of(rows(old("A=B"))[0]) == "v0.1" and version_of(rows(new("A=B"))[0]) == "v2.0"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question_id": "q"}, r"model.jsonl: row 1: no key 'games'"),
        ({"question_id": "q", "games": []}, "games: a list of two games is wanted"),
        ({"games": [{"score": "A>B"}]}, "no key 'question_id'"),
        ({"question_id": "q", "games": [{"verdict": 1}]}, r"games.0: no key 'score' and no text"),
        ({"question_id": "q", "games": [{"score": "A>B"}, 3]}, r"games.1: an object"),
        ({"question_id": "q", "games": [{"score": 7}]}, r"games.0.score: a label such as 'A>B' is wanted, not '7'"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(PrefineError, match=message):
        read(rows(row), "v0.1")
