"""The file of votes: durable, resumable, and data that the project reads."""

import json

import pytest

from prefine.data.load import load
from prefine.errors import DirectoryInUse, PrefineError
from prefine.evaluate.arena.duels import draw, meet, text_hash
from prefine.evaluate.arena.entrants import read_entrants
from prefine.evaluate.arena.votes import Ballot, read_votes, row_of, votes_file
from prefine.pair.given import Given
from prefine.recipe import Data


@pytest.fixture
def duels(runs):
    return draw(meet(read_entrants([str(runs / "a"), str(runs / "b")])))


def cast(path, duels, choices, voter="me"):
    with Ballot(path, voter) as ballot:
        for duel, choice in zip(duels, choices, strict=False):
            ballot.cast(row_of(duel, choice, voter, 1.234, seed=0))


@pytest.mark.parametrize(
    ("choice", "left", "outcome", "orders"),
    [
        ("left", "a", "a", [1.0, None]),
        ("right", "a", "b", [0.0, None]),
        ("left", "b", "b", [None, 0.0]),
        ("right", "b", "a", [None, 1.0]),
        ("tie", "b", "tie", [None, 0.5]),
        ("skip", "a", "invalid", [None, None]),
    ],
)
def test_a_vote_is_a_comparison_that_knows_its_side(duels, choice, left, outcome, orders):
    duel = next(d for d in duels if d.left == left)
    row = row_of(duel, choice, "me", 2.0, seed=3)
    (said,) = row["comparisons"]
    assert said == {"a": duel.a.id, "b": duel.b.id, "outcome": outcome, "judge": "human:me", "orders": orders}
    vote = row["vote"]
    assert vote["responses"] == [text_hash(duel.a.text), text_hash(duel.b.text)]
    assert (vote["left"], vote["choice"], vote["seconds"], vote["seed"]) == (left, choice, 2.0, 3)
    assert vote["prompt"] == duel.group.id and vote["time"].endswith("Z")
    assert [c["generator"]["run"] for c in row["candidates"]] == ["a", "b"]


def test_votes_are_on_the_disk_one_by_one(tmp_path, duels):
    path = tmp_path / "v" / "votes.jsonl"
    with Ballot(path, "me") as ballot:
        for n, duel in enumerate(duels, 1):
            ballot.cast(row_of(duel, "left", "me", None))
            assert len(path.read_text().splitlines()) == n
    with Ballot(path, "me") as again:
        assert [v.duel for v in again.votes] == [d.id for d in duels] and not again.torn


def test_taking_back_leaves_the_other_votes_as_they_are(tmp_path, duels):
    path = tmp_path / "votes.jsonl"
    cast(path, duels, ["left"] * 4)
    before = path.read_text().splitlines()
    with Ballot(path, "me") as ballot:
        assert ballot.take_back([duels[1].id, duels[3].id, "unknown"]) == [duels[3].id, duels[1].id]
        assert ballot.take_back([duels[1].id]) == []
    assert path.read_text().splitlines() == [before[0], before[2]]


def test_half_a_line_of_a_crash_is_removed(tmp_path, duels):
    path = tmp_path / "votes.jsonl"
    cast(path, duels, ["left", "tie"])
    whole = path.read_text()
    path.write_text(whole[:-40])
    with Ballot(path, "me") as ballot:
        assert ballot.torn and len(ballot.votes) == 1
        ballot.cast(row_of(duels[2], "right", "me", None))
    assert len(read_votes([path])) == 2
    path.write_text(whole.rstrip("\n"))
    with Ballot(path, "me") as ballot:  # whole but for its end: nothing is lost
        assert not ballot.torn
        ballot.cast(row_of(duels[2], "right", "me", None))
    assert len(read_votes([path])) == 3


def test_a_full_disk_leaves_no_half_line(tmp_path, duels, monkeypatch):
    path = tmp_path / "votes.jsonl"
    with Ballot(path, "me") as ballot:
        ballot.cast(row_of(duels[0], "left", "me", None))
        before = path.read_bytes()

        def full(_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(OSError, match="No space"):
                ballot.cast(row_of(duels[1], "left", "me", None))
        assert path.read_bytes() == before and len(ballot.votes) == 1


def test_a_line_that_is_no_vote_is_named(tmp_path, duels):
    path = tmp_path / "votes.jsonl"
    cast(path, duels, ["left", "left"])
    path.write_text('{"messages": []}\n' + path.read_text())
    with pytest.raises(PrefineError, match=r"votes.jsonl:1: this is no vote of an arena"), Ballot(path, "me"):
        pass


def test_a_file_has_one_writer(tmp_path, duels):
    path = tmp_path / "votes.jsonl"
    with Ballot(path, "me"), pytest.raises(DirectoryInUse, match="another --voter"), Ballot(path, "me"):
        pass
    cast(path, duels, ["left"])


def test_names_of_voters_are_names_of_files(tmp_path):
    assert votes_file(tmp_path, "anna.b-2") == tmp_path / "arena" / "votes-anna.b-2.jsonl"
    for name in ("", "../x", "a/b", ".hidden", "x" * 65):
        with pytest.raises(PrefineError, match="--voter"):
            votes_file(tmp_path, name)


def test_votes_are_read_as_data_and_become_training_pairs(tmp_path, duels):
    path = tmp_path / "votes.jsonl"
    cast(path, duels, ["left", "right", "tie", "skip", "left", "right"])
    loaded = load(Data(path=str(path), test_fraction=0.0))
    assert loaded.format == "canonical" and loaded.counts.rows_in == 6 and loaded.counts.dropped == {}
    pairs, reasons = {}, {}
    for group in loaded.groups:
        found, reason = Given(judge="human:me").pairs(group, [None, None])
        for example in found:
            pairs[group.id] = [r[-1]["content"] for r in example.responses]
        if reason:
            reasons[group.id] = reason
    for duel, choice in zip(duels, ["left", "right", "tie", "skip", "left", "right"], strict=True):
        left, right = (c.text for c in duel.sides)
        wanted = {"left": [left, right], "right": [right, left]}.get(choice)
        assert pairs.get(duel.group.id) == wanted
        assert reasons.get(duel.group.id) == {"tie": "tie", "skip": "no_usable_comparison"}.get(choice)
    group = next(g for g in loaded.groups if g.id == duels[0].group.id)
    facts = group.candidates[0].generator
    assert facts["variant"] in ("dpo", "sft") and len(facts["checkpoint"]) == 64


def test_hostile_texts_survive_storage(tmp_path, runs):
    from tests.evaluate.arena.runs import evaluated

    text = "\u202e\x1b[31m</script>\u2028\U0001f600 " + "x" * 100_000
    evaluated(tmp_path / "h", "h", {0: text}, start={0: ""})
    (duel,) = draw(meet(read_entrants([str(tmp_path / "h")])))
    path = tmp_path / "votes.jsonl"
    cast(path, [duel], ["left"])
    assert len(path.read_text().splitlines()) == 1
    assert json.loads(path.read_text())["candidates"][0]["completion"][0]["content"] == text
    (vote,) = read_votes([path])
    assert vote.duel == duel.id


def test_of_two_files_the_later_vote_of_one_voter_counts(tmp_path, duels):
    cast(tmp_path / "1", duels, ["left"])
    cast(tmp_path / "2", duels, ["right"])
    cast(tmp_path / "3", duels, ["tie"], voter="eva")
    votes = read_votes([tmp_path / "1", tmp_path / "2", tmp_path / "3", tmp_path / "absent"])
    first = text_hash(duels[0].sides[0].text)
    assert [(v.voter, v.value(first)) for v in votes] == [("me", 0.0), ("eva", 0.5)]
