"""What the votes say: win rates counted by hand, and agreement of metrics, judges and other voters."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from prefine.evaluate.arena.duels import draw, meet, text_hash
from prefine.evaluate.arena.entrants import read_entrants
from prefine.evaluate.arena.results import habits, judges, win_rates
from prefine.evaluate.arena.votes import Vote
from prefine.evaluate.statistics import share
from prefine.rundir import Counts
from prefine.schema import Comparison, Group, make_candidate
from tests.evaluate.arena.runs import evaluated, prompt


@pytest.fixture
def arena(tmp_path):
    """Eight prompts; the first model has the higher `gold` on even prompts."""
    gold = {i: float(i % 2 == 0) for i in range(8)}
    a = evaluated(tmp_path / "a", "dpo", {i: f"first {i}" for i in range(8)}, scores=gold)
    evaluated(tmp_path / "b", "sft", {i: f"second {i}" for i in range(9)}, scores={i: 0.5 for i in range(9)})
    meetings = meet(read_entrants([str(tmp_path / "a"), str(tmp_path / "b")]))
    return SimpleNamespace(meetings=meetings, duels=draw(meetings), run=a)


def votes_of(arena, outcomes, voter="me", seconds=2.0):
    """Votes on the prompts 0, 1 ...: `a` is for the first model."""
    by_prompt = {d.group.id: d for d in arena.duels}
    out = []
    for i, outcome in enumerate(outcomes):
        duel = by_prompt[prompt(i).id]
        hashes = (text_hash(duel.a.text), text_hash(duel.b.text))
        out.append(Vote(duel.id, duel.group.id, hashes, outcome, duel.left, voter, seconds))
    return out


def test_win_rates_by_hand(arena):
    votes = votes_of(arena, ["a", "a", "b", "tie", "a", "invalid"])
    (found,) = win_rates(arena.meetings, votes)
    expected = share([1, 1, 0, 0.5, 1])
    assert (found["first"], found["second"]) == ("a", "b")
    assert (found["wins"], found["ties"], found["losses"], found["skipped"]) == (3, 1, 1, 1)
    assert found["value"] == pytest.approx(0.7) and found["n"] == 5 and found["prompts"] == 8
    assert (found["low"], found["high"]) == (expected.low, expected.high)
    assert found["left_out"] == {"prompts that only some have": 1}


def test_votes_of_several_people_on_a_prompt_are_one_value(arena):
    votes = votes_of(arena, ["a", "b"]) + votes_of(arena, ["b", "b"], "eva") + votes_of(arena, ["a"], "kim")
    (found,) = win_rates(arena.meetings, votes)
    assert found["value"] == pytest.approx((2 / 3 + 0) / 2) and found["n"] == 2 and found["losses"] == 3


def test_a_vote_on_swapped_sides_counts_the_same(arena):
    (vote,) = votes_of(arena, ["a"])
    turned = Vote(vote.duel, vote.prompt, vote.responses[::-1], "b", "a", "me", None)
    assert win_rates(arena.meetings, [turned])[0]["value"] == win_rates(arena.meetings, [vote])[0]["value"] == 1.0


def test_nothing_voted(arena):
    (found,) = win_rates(arena.meetings, [])
    assert found["value"] is None and found["n"] == 0
    assert habits([])["left_wins"]["value"] is None and judges(arena.duels, arena.meetings, []) == []


def test_habits(arena):
    votes = votes_of(arena, ["a"] * 4 + ["tie", "invalid"])
    votes[4] = replace(votes[4], seconds=8.0)
    found = habits(votes)
    left = sum(v.left == "a" for v in votes[:4]) / 4
    assert found["votes"] == 5 and found["skipped"] == 1 and found["median_seconds"] == 2.0
    assert found["left_wins"]["value"] == left and found["left_wins"]["n"] == 4


def test_agreement_with_metrics_by_hand(arena):
    said = ["a", "a", "a", "tie", "a", "b", "a", "b"]
    # gold says a on even prompts, b on odd ones; people differ on prompts 1 (b -> a) and 3 (tie).
    found = {j["judge"]: j for j in judges(arena.duels, arena.meetings, votes_of(arena, said))}
    gold = found["gold"]
    assert set(found) == {"gold", "bad"} and gold["pairs"] == gold["prompts"] == 8 and gold["against"] == "people"
    assert gold["accuracy"] == pytest.approx(6 / 7, abs=1e-6)
    # Verdicts are told apart by a hash of the pair, so kappa is worked out on the table of both namings.
    low, high = gold["kappa_interval"]
    assert low <= gold["kappa"] <= high and 0.3 < gold["kappa"] < 1
    # For `bad` less is better: its values are those of gold with the sign turned, so it says the same.
    assert found["bad"]["kappa"] == gold["kappa"] and found["bad"]["accuracy"] == gold["accuracy"]


def test_full_agreement_is_a_kappa_of_one(arena):
    (gold, *_) = [
        j
        for j in judges(arena.duels, arena.meetings, votes_of(arena, ["a", "b", "a", "b", "a", "b", "a", "b"]))
        if j["judge"] == "gold"
    ]
    assert gold["kappa"] == 1.0 and gold["accuracy"] == 1.0


def test_agreement_with_comparisons_of_the_run(arena):
    label = arena.run.stage("label", "judge", "1" * 64)
    label.start()
    rows = []
    for i in range(4):
        group = Group(prompt(i).id, prompt(i).messages)
        group.candidates = [make_candidate(group.id, f"{who} {i}", key="other") for who in ("second", "first")]
        ids = [c.id for c in group.candidates]
        group.comparisons = [Comparison(ids[0], ids[1], "b" if i else "a", "pairwise")]
        rows.append(group)
    label.write_part(rows)
    counts = Counts(4)
    counts.rows_out = 4
    label.finish({}, counts, {}, 1.0)
    found = {j["judge"]: j for j in judges(arena.duels, arena.meetings, votes_of(arena, ["a"] * 6))}
    assert found["pairwise"]["pairs"] == 4 and found["pairwise"]["accuracy"] == pytest.approx(3 / 4)


def test_agreement_of_voters_with_each_other(arena):
    votes = votes_of(arena, ["a", "a", "b", "b"]) + votes_of(arena, ["a", "a", "b", "a", "a"], "eva")
    found = {j["judge"]: j for j in judges(arena.duels, arena.meetings, votes) if j["judge"].startswith("human:")}
    assert set(found) == {"human:me", "human:eva"}
    assert found["human:me"]["pairs"] == 4 and found["human:me"]["accuracy"] == 0.75
    assert found["human:eva"]["against"] == "the other voters"
