"""An arena of six duels, and its pieces."""

from __future__ import annotations

import threading

import pytest

from prefine.evaluate.arena.duels import draw, meet
from prefine.evaluate.arena.entrants import read_entrants
from prefine.evaluate.arena.results import habits, win_rates
from prefine.evaluate.arena.server import Arena, Server
from prefine.evaluate.arena.votes import Ballot, votes_file
from tests.evaluate.arena.runs import evaluated


@pytest.fixture
def runs(tmp_path):
    """Two runs: the first one's answer to prompt i is `first i`, the other's `second i`; the first scores better."""
    evaluated(tmp_path / "a", "dpo", {i: f"first {i}" for i in range(6)}, scores={i: 1.0 for i in range(6)})
    evaluated(tmp_path / "b", "sft", {i: f"second {i}" for i in range(6)}, scores={i: 0.0 for i in range(6)})
    return tmp_path


class Open:
    """An arena of these runs with its server running, as after a start of the command."""

    def __init__(self, *targets: str, seed: int = 0, voter: str = "me") -> None:
        entrants = read_entrants(list(targets))
        self.meetings = meet(entrants)
        self.duels = draw(self.meetings, seed=seed)
        self.ballot = Ballot(votes_file(entrants[0].run.path, voter), voter).__enter__()
        self.arena = Arena(self.duels, self.ballot, self.result, {"seed": seed})
        self.server = Server(self.arena)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def result(self):
        votes = self.ballot.votes
        return {"pairs": win_rates(self.meetings, votes), "habits": habits(votes), "file": str(self.ballot.path)}

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.ballot.__exit__()


@pytest.fixture
def opened():
    """Opens arenas, and stops those that a test leaves open."""
    made: list[Open] = []

    def make(*targets: object, **options) -> Open:
        made.append(Open(*map(str, targets), **options))
        return made[-1]

    yield make
    for one in made:
        if one.thread.is_alive():
            one.stop()
