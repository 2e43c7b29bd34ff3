"""Votes of the arena on the page and in results.json."""

import pytest

from prefine.evaluate.arena.duels import draw, meet
from prefine.evaluate.arena.entrants import all_entrants
from prefine.evaluate.arena.votes import Ballot, row_of, votes_file
from prefine.report.collect import collect
from prefine.report.html import Report
from prefine.report.parts import people
from prefine.report.people import people_of
from prefine.report.results import results
from prefine.rundir import RunDir
from tests.report.conftest import made_up_run


@pytest.fixture
def run(tmp_path) -> RunDir:
    return made_up_run(tmp_path / "demo", {"dpo": 0.3}, prompts=9)


def vote(run: RunDir, first: str, second: str, choices: str, voter: str = "me") -> None:
    """Votes on the pairs of two models by a letter each: f and s for whose response is better, t for a tie."""
    entrants = {e.name: e for e in all_entrants([run])}
    duels = draw(meet([entrants[first], entrants[second]]))
    with Ballot(votes_file(run.path, voter), voter) as ballot:
        for duel, choice in zip(duels, choices, strict=False):
            side = {"f": "left" if duel.left == "a" else "right", "s": "right" if duel.left == "a" else "left"}
            ballot.cast(row_of(duel, side.get(choice, "tie"), voter, 1.0))


def test_without_votes_there_is_no_part(run):
    found = collect(run)
    assert found.people == [] and people.part(Report(found, results(found))) is None


def test_votes_are_counted_by_pair_and_compared_with_the_metric(run):
    vote(run, "dpo", "start", "fffst")
    (found,) = people_of([run])
    assert found["mode"] == "greedy" and found["habits"]["votes"] == 5
    said = {(p["first"], p["second"]): (p["wins"], p["ties"], p["losses"], p["value"]) for p in found["pairs"]}
    assert said == {("dpo", "start"): (3, 1, 1, pytest.approx(0.7))}
    assert {j["judge"]: j["pairs"] for j in found["judges"] if j["against"] == "people"}["gold"] == 5


def test_the_part_says_who_won_and_who_agrees(run):
    vote(run, "dpo", "start", "fffst")
    vote(run, "dpo", "start", "ffff", "eva")
    collected = collect(run)
    data = results(collected)
    html = str(people.part(Report(collected, data)).body)
    assert data["people"] == people_of([run])
    assert "dpo against start" in html and "9 votes" in html and "human:eva" in html and "the other voters" in html
