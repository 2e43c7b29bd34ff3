"""The first stage of a run: read the data, hold out the test prompts, write the groups."""

from __future__ import annotations

import shutil
from typing import Any

from prefine.data.clean.base import Models
from prefine.data.load import load
from prefine.data.steps import clear, run_steps
from prefine.durable import TMP_MARK
from prefine.progress import Progress
from prefine.recipe import Recipe
from prefine.rundir import Counts, StageDir

ROWS_PER_PART = 20_000


def run(
    recipe: Recipe, folder: StageDir, progress: Progress, models: Models | None = None
) -> tuple[Counts | None, dict[str, Any]]:
    """Write all groups of `recipe.data`; the facts name the format and the first rows dropped for each reason.

    With `data.clean` the counts are of prompts; those of the rows that were read are the fact `reading`. Reading is
    quick and repeatable, so a stage that was killed starts afresh.
    """
    clear(folder)
    loaded = load(recipe.data, progress=progress)
    target = StageDir(folder.path / f"read{TMP_MARK}rows", "data", "", folder.run) if recipe.data.clean else folder
    target.path.mkdir(exist_ok=True)
    for start in range(0, len(loaded.groups), ROWS_PER_PART):
        target.write_part(loaded.groups[start : start + ROWS_PER_PART])
    counts = loaded.counts
    dropped = sum(counts.dropped.values())
    progress.line(
        f"data: {counts.rows_in} rows as {loaded.format}, {dropped} dropped; "
        f"{counts.extra['groups_train']:.0f} prompts to train on, {counts.extra['groups_test']:.0f} held out"
    )
    for reason, n in sorted(counts.dropped.items()):
        progress.line(f"  dropped {n}: {reason}")
    facts = {"format": loaded.format, "dropped_rows": loaded.dropped_rows, "split_salt": recipe.data.split_salt}
    if target is folder:
        return counts, facts
    loaded.groups.clear()
    cleaned = run_steps(target, recipe.data.clean, folder, progress, models)
    shutil.rmtree(target.path)
    for told in cleaned.steps:
        reasons = ", ".join(f"{n} {reason}" for reason, n in told["dropped"].items())
        progress.line(
            f"  {told['step']}: {told['rows_in']} prompts in, {told['rows_out']} out ({reasons or 'none dropped'})"
        )
    return cleaned.counts, {**facts, "reading": counts.as_dict(), "steps": cleaned.steps}
