"""Finished stages whose requests failed: asked again by the next run, in a new attempt beside the old result."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from prefine.errors import Interrupted, PrefineError
from prefine.rundir import Counts, RunDir, StageDir, run_stage, stage_key
from prefine.unanswered import to_ask_again, unanswered

if TYPE_CHECKING:
    from prefine.pipeline import Planned
    from prefine.progress import Progress

ATTEMPT = "attempt"
"""The input that tells a later attempt from the first: what follows reads another key, and is done anew."""
GOES_ON = ("prompts",)
"""Stages that make up for a failure by further requests, so that an answer would change all that came after it."""


class _NothingNew(Exception):
    """The same requests failed once more."""


def latest(planned: Planned, run: RunDir) -> None:
    """Give the stage the folder of its newest finished attempt, or of the first one."""
    first = planned.inputs
    for n in range(1, 1 + len(list((run.path / planned.stage).glob("*")))):
        inputs, folder = _attempt(planned, run, first, n)
        if folder.done:
            planned.inputs, planned.folder = inputs, folder


def asks_again(planned: Planned, run: RunDir) -> int:
    """How many of a finished stage's requests the next run asks again."""
    if not planned.folder.done:
        return 0
    return len(to_ask_again(planned.folder.path, run.path / "ledger.sqlite", only_wished=planned.stage in GOES_ON))


def retry(planned: Planned, run: RunDir, progress: Progress) -> bool:
    """Do a finished stage again where its requests failed; True when `planned` has a new result.

    Answered requests cost nothing again. Where the same ones fail, or the server cannot be asked at all, the result
    that is there stays.
    """
    old = planned.folder
    inputs, folder = _attempt(planned, run, planned.inputs, int(planned.inputs.get(ATTEMPT, 0)) + 1)
    count = asks_again(planned, run)
    if not count and not folder.path.exists():
        return False
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        progress.line(f"  {count} requests that failed are not asked again beside other processes")
        return False
    progress.line(f"{planned.stage}: {count} requests that failed are asked again")

    def work(folder: StageDir) -> tuple[Counts | None, dict[str, Any]]:
        found = planned.work(folder)
        if unanswered(folder.path).keys() == unanswered(old.path).keys():
            raise _NothingNew
        return found

    try:
        run_stage(folder, planned.settings, inputs, work)
    except _NothingNew:
        why = "the same ones failed"
    except Interrupted:
        raise
    except PrefineError as error:
        why = str(error)
    else:
        planned.inputs, planned.folder = inputs, folder
        return True
    shutil.rmtree(folder.path)
    progress.line(f"  the result stays as it is: {why}")
    return False


def _attempt(planned: Planned, run: RunDir, inputs: dict[str, str], n: int) -> tuple[dict[str, str], StageDir]:
    again = {**inputs, ATTEMPT: str(n)}
    return again, run.stage(planned.stage, planned.label, stage_key(planned.stage, planned.settings, again))
