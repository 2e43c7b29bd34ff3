"""What a recipe's stages would ask of models, and what that would cost, without a call."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from prefine import registry
from prefine.engines.rehearsal import rehearsal, total
from prefine.errors import PrefineError
from prefine.inputs import ENGINES
from prefine.pipeline import Planned, finder, plan
from prefine.progress import Progress
from prefine.recipe import Recipe
from prefine.recipe.variants import settled
from prefine.retries import asks_again
from prefine.rundir import RunDir
from prefine.schema import Group

ROUNDS = "components that ask in rounds: the first round, since the next depends on its replies"


def estimate(recipes: list[Recipe]) -> list[str]:
    """A line for every stage that asks a model: requests, those answered before, tokens, and dollars with prices.

    A stage whose input is not there yet is named with what it waits for.
    """
    run, plans, lines = RunDir(recipes[0].run_path), {}, []
    for recipe in recipes:
        name = f"{recipe.variant}: " if recipe.variant else ""
        try:
            recipe = settled(recipe, finder(plans))
        except PrefineError as error:
            lines.append(f"{name}not known yet: {error}")
            continue
        plans[recipe.variant] = plan(recipe, run, Progress.silent())
        lines += [f"{name}{line}" for line in _stages(recipe, plans[recipe.variant], run)]
    return lines


def _stages(recipe: Recipe, planned: list[Planned], run: RunDir) -> list[str]:
    lines = []
    for before, stage in itertools.pairwise(planned):
        work = _WORK.get(stage.stage)
        blocks = _blocks(recipe, stage.stage)
        if work is None or not any(_asks(block) for block in blocks):
            continue
        if stage.folder.done and not asks_again(stage, run):
            continue
        groups = _groups(recipe, before)
        if groups is None:
            lines.append(f"{stage.stage}: not known before {before.stage} has run")
            continue
        with rehearsal() as found, contextlib.suppress(PrefineError):
            work(recipe, groups)
        if found:
            lines.append(f"{stage.stage}: {total(found)}")
    if lines:
        lines.append(f"({ROUNDS})")
    return lines if planned[-1].folder.done else lines + _benchmarks(recipe)


def _benchmarks(recipe: Recipe) -> list[str]:
    """What each judged benchmark asks of its judge. Nobody has answered yet, so the answers' tokens are not known."""
    lines = []
    for block in recipe.evaluate.benchmarks if recipe.evaluate else []:
        if not _asks(block) and not _asks(block.get("judge") or {}):
            continue
        from prefine.evaluate.judged.base import Answers
        from prefine.evaluate.judged.stage import build

        (benchmark,) = build([block])
        ours, theirs = (
            Answers(name, {q.id: [f"{name} {t}" for t in range(benchmark.turns)] for q in benchmark.questions})
            for name in ("ours", "theirs")
        )
        try:
            with rehearsal() as found:
                benchmark.open(recipe)
                benchmark.verdicts(ours, theirs if benchmark.baseline or benchmark.turns == 1 else None, _nothing)
        finally:
            benchmark.close()
        asked = total(found)
        lines.append(
            f"evaluate: {benchmark.name}: {asked.requests:,} requests to the judge for each model, with at least "
            f"{asked.prompt_tokens:,} prompt tokens besides the answers"
        )
    return lines


def _groups(recipe: Recipe, before: Planned) -> list[Group] | None:
    if before.folder.done:
        return sorted(before.folder.groups(), key=lambda g: g.id)
    if before.stage != "data":
        return None
    from prefine.data.load import load_groups

    return sorted(load_groups(recipe.data)[0], key=lambda g: g.id)


def _blocks(recipe: Recipe, stage: str) -> list[dict[str, Any]]:
    if stage == "prompts" and recipe.prompts:
        return [recipe.prompts.maker]
    if stage == "generate" and recipe.generate:
        return [recipe.generate.generator]
    return recipe.label.labelers if stage == "label" and recipe.label else []


def _asks(block: dict[str, Any]) -> bool:
    """Whether a component has an engine, of its own or of one of its members."""
    blocks = [block, *(block.get("members") or [])]
    return any(isinstance(b.get(name), dict) for b in blocks for name in ENGINES)


def _nothing(n: float = 1, *, note: str | None = None) -> None:
    """A step that nobody watches."""


def _prompts(recipe: Recipe, groups: list[Group]) -> None:
    assert recipe.prompts is not None
    maker = registry.makers.build(recipe.prompts.maker)
    try:
        maker.prepare(recipe)
        maker.make(groups, lambda _: None, [], _nothing)
    finally:
        maker.close()


def _generate(recipe: Recipe, groups: list[Group]) -> None:
    assert recipe.generate is not None
    wanted = [g for g in groups if g.split != "test" or recipe.generate.include_held_out]
    generator = registry.generators.build(recipe.generate.generator)
    try:
        generator.prepare(recipe)
        generator.ahead(wanted, recipe.generate.num_responses, _nothing)
        generator.generate(wanted, recipe.generate.num_responses, _nothing)
    finally:
        generator.close()


def _label(recipe: Recipe, groups: list[Group]) -> None:
    for block in _blocks(recipe, "label"):
        if _asks(block):
            labeler = registry.labelers.build(block)
            try:
                labeler.prepare(recipe)
                labeler.score(groups, _nothing)
            finally:
                labeler.close()


_WORK: dict[str, Callable[[Recipe, list[Group]], None]] = {"prompts": _prompts, "generate": _generate, "label": _label}
