"""The first stage of a run: read the data, hold out the test prompts, write the groups."""

from __future__ import annotations

from typing import Any

from prefine.data.load import load
from prefine.progress import Progress
from prefine.recipe import Recipe
from prefine.rundir import Counts, StageDir

ROWS_PER_PART = 20_000


def run(recipe: Recipe, folder: StageDir, progress: Progress) -> tuple[Counts | None, dict[str, Any]]:
    """Write all groups of `recipe.data`; the facts name the format and the first rows dropped for each reason.

    Reading is quick and repeatable, so a stage that was killed starts afresh.
    """
    for part in folder.parts:
        part.unlink()
    loaded = load(recipe.data, progress=progress)
    for start in range(0, len(loaded.groups), ROWS_PER_PART):
        folder.write_part(loaded.groups[start : start + ROWS_PER_PART])
    counts = loaded.counts
    dropped = sum(counts.dropped.values())
    progress.line(
        f"data: {counts.rows_in} rows as {loaded.format}, {dropped} dropped; "
        f"{counts.extra['groups_train']:.0f} prompts to train on, {counts.extra['groups_test']:.0f} held out"
    )
    for reason, n in sorted(counts.dropped.items()):
        progress.line(f"  dropped {n}: {reason}")
    return counts, {"format": loaded.format, "dropped_rows": loaded.dropped_rows, "split_salt": recipe.data.split_salt}
