"""What people said in the arena about the responses of these runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefine.evaluate.arena.entrants import all_entrants
from prefine.evaluate.arena.results import findings
from prefine.evaluate.arena.votes import votes_files
from prefine.rundir import RunDir

MODES = ("greedy", "sample")


def people_of(runs: Sequence[RunDir]) -> list[dict[str, Any]]:
    """For each mode with votes its `mode`, the `pairs` that were voted on, `habits` of voting, and `judges`."""
    files = votes_files(run.path for run in runs)
    out = []
    for mode in MODES if files else ():
        found = findings(all_entrants(runs, mode), files)
        pairs = [pair for pair in found["pairs"] if pair["n"]]
        if pairs:
            out.append({"mode": mode, "pairs": pairs, "habits": found["habits"], "judges": found["judges"]})
    return out
