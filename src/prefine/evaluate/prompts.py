"""The prompts of an evaluation: held out from training, or given by the recipe."""

from __future__ import annotations

import prefine.data.stage
from prefine.progress import Progress
from prefine.recipe import Data, Recipe
from prefine.rundir import Counts, StageDir, run_stage
from prefine.schema import Group, group_id


def held_out(recipe: Recipe, data: StageDir, folder: StageDir, progress: Progress) -> tuple[list[Group], Counts]:
    """The prompts to answer, in the order of their ids, and what became of the others.

    They are the groups of split `test`, or all of `evaluate.data`; a prompt that training may have seen is dropped.
    """
    section = recipe.evaluate
    assert section is not None
    own = list(data.groups())
    found = load(recipe, section.data, folder, "prompts", progress) if section.data else own
    found = [g for g in found if section.data or g.split == "test"]
    counts = Counts(len(found))
    trained_on = {g.id for g in own if g.split == "train"}
    groups = sorted((g for g in found if g.id not in trained_on), key=lambda g: g.id)
    if len(groups) < len(found):
        counts.drop("prompt is in the training data", len(found) - len(groups))
    if section.num_prompts is not None and len(groups) > section.num_prompts:
        counts.drop("beyond num_prompts", len(groups) - section.num_prompts)
        groups = groups[: section.num_prompts]
    counts.rows_out = len(groups)
    return groups, counts


def asked_ids(groups: list[Group]) -> list[str]:
    """What tells the prompts apart as they are asked: ids that, unlike the groups' own, change with a condition."""
    return [group_id(g.messages, g.task) for g in groups]


def load(recipe: Recipe, data: Data, folder: StageDir, name: str, progress: Progress) -> list[Group]:
    """All groups of a data section other than the recipe's own, whatever split they fall into.

    They are kept in the folder `name` of the evaluation, and count as held out.
    """
    place = StageDir(folder.path / name, "data", folder.key, folder.run)
    other = recipe.model_copy(update={"data": data})
    run_stage(place, data.model_dump(mode="json"), {}, lambda f: prefine.data.stage.run(other, f, Progress.silent()))
    groups = list(place.groups())
    progress.line(f"{name}: {len(groups)} from {data.path}")
    for group in groups:
        group.split = "test"
    return groups
