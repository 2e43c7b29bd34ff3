"""The stages of a recipe in order: each is skipped when its settings and inputs are those of a finished result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefine import registry
from prefine.errors import PrefineError
from prefine.inputs import component_inputs, source_digests, that_count, weights
from prefine.recipe import Model, Recipe
from prefine.recipe.file import save_recipe
from prefine.recipe.variants import settled
from prefine.retries import latest, retry
from prefine.rundir import Counts, RunDir, StageDir, run_stage, stage_key
from prefine.train.log import require_trackers

if TYPE_CHECKING:
    from prefine.progress import Progress

Work = Callable[[StageDir], tuple[Counts | None, dict[str, Any]]]


@dataclass
class Planned:
    """A stage of a recipe: what it does, what it reads, where its result goes."""

    stage: str
    label: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    work: Work
    folder: StageDir = field(init=False)


def run_recipe(recipe: Recipe, *, stages: list[str] | None = None, progress: Progress, resume: str = "auto") -> RunDir:
    """Run the recipe's stages, or only those named (their inputs must then be there), and return the run.

    resume: `auto` goes on from an interrupted training of the same settings, `always` also refuses to start beside one
    of other settings, `never` starts the training anew.
    """
    return run_recipes([recipe], stages=stages, progress=progress, resume=resume)


def run_recipes(
    recipes: list[Recipe], *, stages: list[str] | None = None, progress: Progress, resume: str = "auto"
) -> RunDir:
    """Run the variants of a recipe, one after the other, in one directory; what they share is done once."""
    run = RunDir(recipes[0].run_path)
    for recipe in recipes:
        require_trackers(recipe.train.report_to if recipe.train else [])
    plans: dict[str | None, list[Planned]] = {}
    if not main_process():
        for recipe in recipes:
            plans[recipe.variant] = follow(settled(recipe, finder(plans)), run, stages, resume)
        return run
    with run:
        for recipe in recipes:
            if recipe.variant:
                progress.line(f"variant: {recipe.variant}")
            plans[recipe.variant] = _run_one(settled(recipe, finder(plans)), run, stages, progress, resume)
        asked = recipes[-1].report
        if asked is not None and (stages is None or "report" in stages):
            from prefine.report.stage import build

            page = build(run, run.path / "report.html", asked.title, num_examples=asked.num_examples)
            progress.line(f"report: {page}")
        elif stages is None or "train" in stages:
            from prefine.report.stage import cards

            cards(run)
    return run


def finder(plans: dict[str | None, list[Planned]]) -> Callable[[str, str], str]:
    """Where an earlier variant's model, or the rows of one of its stages, are."""

    def find(variant: str, stage: str) -> str:
        planned = next((p for p in plans.get(variant, []) if p.stage == stage), None)
        if planned is None:
            raise PrefineError(f"variant:{variant}: the variant '{variant}' has no stage '{stage}'")
        if not planned.folder.done:
            raise PrefineError(
                f"variant:{variant}: the {stage} stage of the variant '{variant}' is not finished; `prefine run` does "
                "all variants in their order"
            )
        return str(planned.folder.path / "model" if stage == "train" else planned.folder.path)

    return find


def compute_reference(recipes: list[Recipe], *, progress: Progress) -> Path:
    """Do what comes before training, and only the reference pass of it; returns the folder of the log-probs.

    The training of the same recipe, in this run directory, finds them there.
    """
    run_recipes(recipes, stages=["data", "prompts", "generate", "label", "pair"], progress=progress)
    run = RunDir(recipes[0].run_path)
    plans: dict[str | None, list[Planned]] = {}
    for recipe in recipes:
        recipe = settled(recipe, finder(plans))
        plans[recipe.variant] = plan(recipe, run, progress)
        objective = registry.objectives.find(str(recipe.train.objective["name"])) if recipe.train else None
        if objective is None or not objective.attributes.get("needs_reference"):
            name = "without a train section" if objective is None else f"with the objective '{objective.name}'"
            raise PrefineError(f"{recipe.name}: a recipe {name} needs no reference log-probs")
        from prefine.models.load import set_threads
        from prefine.train import stage

        set_threads(recipe.threads)
        (pairs,) = [p for p in plans[recipe.variant] if p.stage == "pair"]
        stage.prepare(recipe, run.path, pairs.folder, progress)
    return run.path / "reference"


def _run_one(recipe: Recipe, run: RunDir, stages: list[str] | None, progress: Progress, resume: str) -> list[Planned]:
    save_recipe(recipe, run.path / (f"recipe-{recipe.variant}.yaml" if recipe.variant else "recipe.yaml"))
    plans = plan(recipe, run, progress, resume)
    for i in range(len(plans)):
        planned = plans[i]
        if stages is not None and planned.stage not in stages:
            _demand_input(planned, stages)
            continue
        if planned.stage == "train":
            check_resume(planned, run, resume, progress)
        if not planned.folder.done:
            from prefine.models.load import set_threads

            set_threads(recipe.threads)
        ran = run_stage(planned.folder, planned.settings, planned.inputs, planned.work)
        progress.line(summary(planned, ran))
        if not ran and retry(planned, run, progress):
            progress.line(summary(planned, True))
            plans = plan(recipe, run, progress, resume)
    return plans


def main_process() -> bool:
    """True in the only process, or in the first of several."""
    return int(os.environ.get("RANK", 0)) == 0


def follow(recipe: Recipe, run: RunDir, stages: list[str] | None, resume: str) -> list[Planned]:
    """What every process but the first does: train with the others, and wait for what the first does alone."""
    from prefine.progress import Progress

    plans = plan(recipe, run, Progress.silent(), resume)
    for planned in plans:
        if stages is not None and planned.stage not in stages:
            continue
        if planned.stage == "train" and not planned.folder.done:
            planned.work(planned.folder)
        # Of a training, too: the first process still writes it down, and a later variant may begin with its model.
        if planned.stage not in ("evaluate", "report"):
            while not planned.folder.done:
                time.sleep(0.5)
    return plans


def plan(recipe: Recipe, run: RunDir, progress: Progress, resume: str = "auto") -> list[Planned]:
    """The recipe's stages up to evaluation, with their folders; nothing is run or written."""
    out: list[Planned] = []

    def add(planned: Planned) -> Planned:
        key = stage_key(planned.stage, planned.settings, planned.inputs)
        planned.folder = run.stage(planned.stage, planned.label, key)
        latest(planned, run)
        out.append(planned)
        return planned

    data = last = add(_data(recipe, progress))
    for make in (_prompts, _generate, _label):
        planned = make(recipe, last, progress)
        last = add(planned) if planned else last
    pairs = train = None
    if recipe.pair is not None or recipe.train is not None:
        pairs = add(_pair(recipe, last, progress))
    if recipe.train is not None and pairs is not None:
        train = add(_train(recipe, pairs, progress, resume))
    if recipe.evaluate is not None:
        add(_evaluate(recipe, run, data, pairs, train, progress))
    return out


def _data(recipe: Recipe, progress: Progress) -> Planned:
    from prefine.data import stage

    settings, inputs = recipe.data.model_dump(exclude={"clean"}), source_digests(recipe.data)
    blocks = [registry.cleaners.check(b) for b in recipe.data.clean]
    if blocks:
        settings["clean"] = [that_count(b) for b in blocks]
        for i, block in enumerate(blocks):
            inputs.update(component_inputs(block, f"clean-{i}"))
    label = Path(str(recipe.data.path if isinstance(recipe.data.path, str) else recipe.data.path[0])).name

    def work(folder: StageDir) -> tuple[Counts | None, dict[str, Any]]:
        from prefine.models.text_vectors import TextModels

        return stage.run(recipe, folder, progress, TextModels(recipe.threads) if blocks else None)

    return Planned("data", _plain(label), settings, inputs, work)


def _prompts(recipe: Recipe, source: Planned, progress: Progress) -> Planned | None:
    if recipe.prompts is None:
        return None
    from prefine.prompts import stage

    block = registry.makers.check(recipe.prompts.maker)
    settings = {**recipe.prompts.model_dump(), "maker": that_count(block), "seed": recipe.seed}
    inputs = {"groups": source.folder.key, **component_inputs(block, "maker")}
    return Planned(
        "prompts", block["name"], settings, inputs, lambda folder: stage.run(recipe, folder, source.folder, progress)
    )


def _generate(recipe: Recipe, source: Planned, progress: Progress) -> Planned | None:
    if recipe.generate is None:
        return None
    from prefine.generate import stage

    block = registry.generators.check(recipe.generate.generator)
    settings = {**recipe.generate.model_dump(), "generator": that_count(block), "seed": recipe.seed}
    inputs = {"groups": source.folder.key, "model": weights(recipe.model), **component_inputs(block, "generator")}
    return Planned(
        "generate", block["name"], settings, inputs, lambda folder: stage.run(recipe, folder, source.folder, progress)
    )


def _label(recipe: Recipe, source: Planned, progress: Progress) -> Planned | None:
    if recipe.label is None:
        return None
    from prefine.label import stage

    blocks = [registry.labelers.check(b) for b in recipe.label.labelers]
    inputs = {"groups": source.folder.key}
    for i, block in enumerate(blocks):
        inputs.update(component_inputs(block, f"labeler-{i}"))
    label = "+".join(str(b["name"]) for b in blocks)
    return Planned(
        "label",
        _plain(label),
        {"labelers": [that_count(b) for b in blocks], "seed": recipe.seed},
        inputs,
        lambda folder: stage.run(recipe, folder, source.folder, progress),
    )


def default_pairer(recipe: Recipe) -> str:
    """How examples are made when the recipe has no `pair` section: as the objective's group size asks."""
    assert recipe.train is not None
    wanted = registry.objectives.find(str(recipe.train.objective["name"])).attributes
    if wanted.get("needs_labels"):
        return "unpaired"
    return {1: "responses", None: "ranked"}.get(wanted.get("group_size", 2), "given")


def _pair(recipe: Recipe, source: Planned, progress: Progress) -> Planned:
    from prefine.pair import stage
    from prefine.recipe import Pair

    section = recipe.pair or Pair(pairer={"name": default_pairer(recipe)})
    full = recipe.model_copy(update={"pair": section})
    block = registry.pairers.check(section.pairer)
    settings = {**section.model_dump(), "pairer": block, "seed": recipe.seed}
    return Planned(
        "pair",
        block["name"],
        settings,
        {"groups": source.folder.key, **component_inputs(block, "pairer")},
        lambda folder: stage.run(full, folder, source.folder, progress),
    )


def _train(recipe: Recipe, pairs: Planned, progress: Progress, resume: str) -> Planned:
    from prefine.train import stage

    assert recipe.train is not None
    settings = {
        "train": stage.settings_that_count(recipe),
        "model": recipe.model.model_dump(exclude={"path", "revision"}),
    }
    inputs = {"examples": pairs.folder.key, "model": weights(recipe.model)}
    inputs.update(component_inputs(settings["train"]["objective"], "objective"))
    return Planned(
        "train",
        _plain(recipe.variant or str(recipe.train.objective["name"])),
        settings,
        inputs,
        lambda folder: stage.run(recipe, folder, pairs.folder, progress, resume=resume != "never"),
    )


def _evaluate(
    recipe: Recipe, run: RunDir, data: Planned, pairs: Planned | None, train: Planned | None, progress: Progress
) -> Planned:
    from prefine.evaluate import stage
    from prefine.evaluate.tasks.presets import files_digest

    assert recipe.evaluate is not None
    settings = {**recipe.evaluate.model_dump(), "seed": recipe.seed}
    settings["metrics"] = [registry.metrics.check(m) for m in recipe.evaluate.metrics]
    inputs = {"data": data.folder.key, "model": weights(recipe.model)}
    for i, block in enumerate(settings["metrics"]):
        inputs.update(component_inputs(block, f"metric-{i}"))
    del settings["benchmarks"]
    if blocks := [registry.benchmarks.check(b) for b in recipe.evaluate.benchmarks]:
        settings["benchmarks"] = [that_count(b) for b in blocks]
        for i, block in enumerate(blocks):
            inputs.update(component_inputs(block, f"benchmark-{i}"))
    for name, planned in (("examples", pairs), ("train", train)):
        if planned is not None:
            inputs[name] = planned.folder.key
    for name in ("data", "control_data"):
        extra = getattr(recipe.evaluate, name)
        if extra is not None:
            inputs.update({f"{name}:{k}": v for k, v in source_digests(extra).items()})
    if recipe.evaluate.tasks is not None and recipe.evaluate.tasks.include_path:
        inputs["tasks"] = files_digest(recipe.evaluate.tasks.include_path)
    for other in recipe.evaluate.against:
        inputs[f"against:{other}"] = weights(Model(path=other))

    def work(folder: StageDir) -> tuple[Counts | None, dict[str, Any]]:
        return stage.run(
            recipe,
            folder,
            train=train.folder if train else None,
            data=data.folder,
            pairs=pairs.folder if pairs else None,
            run=run,
            progress=progress,
        )

    return Planned("evaluate", train.label if train else "start", settings, inputs, work)


def check_resume(planned: Planned, run: RunDir, resume: str, progress: Progress) -> None:
    """With `always`, refuse to start a training beside an interrupted one, naming what differs from it."""
    if resume != "always" or planned.folder.done or _checkpointed(planned.folder.path):
        return
    from prefine.train.checkpoint import differences, latest_fingerprint

    waiting = [
        p for p in sorted((run.path / "train").glob("*-*")) if not (p / "_SUCCESS").exists() and _checkpointed(p)
    ]
    if not waiting:
        progress.line("no interrupted training to resume: starting one")
        return
    old = latest_fingerprint(waiting[-1] / "checkpoints")
    changed = differences({k: old.get(k) for k in planned.settings}, planned.settings)
    if old.get("start_weights") != planned.inputs["model"]:
        changed.append("start weights")
    raise PrefineError(
        f"{waiting[-1]} was interrupted with other settings or data, so it cannot be resumed as this run: "
        f"{'; '.join(changed) or 'data (the training examples are not the same)'}. Restore them, or start anew "
        f"without --resume"
    )


def _checkpointed(folder: Path) -> bool:
    return (folder / "checkpoints" / "LATEST").exists()


def _demand_input(planned: Planned, stages: list[str]) -> None:
    """Reading data and deriving examples is cheap and done on the way; anything else must have been run before."""
    order = ["data", "prompts", "generate", "label", "pair", "train", "evaluate", "report"]
    wanted = min(order.index(s) for s in stages)
    needed = order.index(planned.stage) < wanted
    if planned.stage in ("data", "pair") and needed and not planned.folder.done:
        planned.folder.run.mkdir(parents=True, exist_ok=True)
        run_stage(planned.folder, planned.settings, planned.inputs, planned.work)
    if needed and not planned.folder.done:
        raise PrefineError(
            f"'{stages[0]}' needs the result of '{planned.stage}', which is not there for these settings: run "
            f"'prefine {planned.stage}' with this recipe first, or 'prefine run' for all stages"
        )


def summary(planned: Planned, ran: bool) -> str:
    """One line on a stage: rows in and out, what was dropped and why, seconds."""
    manifest = planned.folder.manifest()
    counts = manifest["counts"] or {}
    text = f"{planned.stage}: {planned.folder.path.name}"
    if counts:
        text += f", {counts['rows_in']} rows in, {counts['rows_out']} out"
        if counts["dropped"]:
            text += " (dropped: " + ", ".join(f"{n} {r}" for r, n in counts["dropped"].items()) + ")"
    return text + (f", {manifest['seconds']:.1f} s" if ran else ", already done")


def _plain(label: str) -> str:
    return "".join(c if c.isalnum() or c in "._+" else "_" for c in label)[:40] or "stage"
