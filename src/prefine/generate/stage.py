"""The generate stage: prompts in, the same prompts with sampled responses out."""

from __future__ import annotations

from typing import Any

from prefine.errors import PrefineError
from prefine.generate.base import Generator
from prefine.progress import Progress
from prefine.recipe import Generate, Recipe
from prefine.registry import generators
from prefine.rundir import Counts, StageDir
from prefine.schema import Group

PART = 256
"""Prompts between two durable parts."""


def run(recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress) -> tuple[Counts, dict[str, Any]]:
    """Write every group of `source` with its new responses; prompts too long for the model are dropped.

    New responses take the place of those that came with the data, so that what follows learns from the sampled ones
    only (the data stage still has the others). Held-out groups pass unchanged unless the recipe includes them.
    """
    section = recipe.generate or Generate()
    groups = sorted(source.groups(), key=lambda g: g.id)
    wanted = [g for g in groups if g.split != "test" or section.include_held_out]
    if not wanted:
        raise PrefineError(f"generate: none of the {len(groups)} prompts is for training")
    generator: Generator = generators.build(section.generator)
    facts = generator.prepare(recipe)
    sample_all(generator, groups, {g.id for g in wanted}, section.num_responses, folder, progress)
    counts = balance(generator, groups, {g.id for g in wanted}, folder)
    n = {name: int(value) for name, value in counts.extra.items()}
    progress.line(
        f"  {n['responses']} responses, {n['tokens'] / n['responses']:.1f} tokens each; {n['finish_length']} cut at "
        f"the length limit, {n['empty_response']} empty, {n['duplicate_responses']} duplicates"
    )
    return counts, facts


def sample_all(
    generator: Generator, groups: list[Group], wanted: set[str], n: int, folder: StageDir, progress: Progress
) -> None:
    """Write parts of `PART` groups; those that an interrupted run has written stay as they are."""
    written = {g.id for g in folder.groups()}
    done = sum(g.id in written for g in groups if g.id in wanted)
    with progress.task("sampling", total=len(wanted) * n, unit="responses", done=done * n) as step:
        for start in range(0, len(groups), PART):
            part = groups[start : start + PART]
            if any(g.id in written for g in part):
                continue
            todo = [g for g in part if g.id in wanted]
            found = dict(zip((g.id for g in todo), generator.generate(todo, n, step), strict=True))
            for g in todo:
                g.candidates, g.comparisons = found[g.id], []
            kept = [g for g in part if g.id not in found or g.candidates]
            if kept:
                folder.write_part(kept)


def balance(generator: Generator, groups: list[Group], wanted: set[str], folder: StageDir) -> Counts:
    """Groups in and out, and what the responses are like."""
    counts = Counts(len(groups))
    missing = {g.id: g for g in groups}
    for group in folder.groups():
        counts.rows_out += 1
        del missing[group.id]
        if group.id not in wanted:
            counts.note("held_out_prompts_passed")
            continue
        texts = [c.text for c in group.candidates]
        counts.note("responses", len(texts))
        counts.note("empty_response", sum(not t.strip() for t in texts))
        counts.note("duplicate_responses", len(texts) - len(set(texts)))
        counts.note("finish_length", sum(c.finish_reason == "length" for c in group.candidates))
        counts.note("tokens", sum(c.n_tokens or 0 for c in group.candidates))
    for group in missing.values():
        counts.drop(generator.refusal(group) or "no_response")
    if not counts.extra.get("responses"):
        reasons = ", ".join(f"{name}: {n}" for name, n in counts.dropped.items())
        raise PrefineError(f"generate: no prompt got a response ({reasons})")
    return counts
