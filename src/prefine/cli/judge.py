"""`prefine judge`: how far a judge can be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefine.recipe import Recipe
    from prefine.schema import Group

app = typer.Typer(help="Measure a judge before it is trusted.", no_args_is_help=True)

ROWS = ("label", "generate", "data")
"""Stages with responses, the last one of a run first."""


@app.callback()
def options() -> None:
    """Measure a judge before it is trusted."""


@app.command()
def report(
    target: Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or a run, with responses.")],
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="{name: ...}",
            help="A labeler's block; may be given several times. By default those of the recipe's label section.",
        ),
    ] = None,
    gold: Annotated[
        str | None, typer.Option(metavar="SCORER", help="A scorer, or a judge of comparisons, taken for the truth.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge this many prompts, the first by hash.")] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Ask everything so many more times: is it consistent?")] = 1,
    canaries: Annotated[int, typer.Option(min=0, help="Prompts for which bad answers are set beside good ones.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Report position bias, agreement, consistency, length bias, canaries and cost of one or more judges.

    The report is also kept in the run's folder, under judges/.
    """
    from prefine.durable import write_json
    from prefine.label.judge_text import render, render_others
    from prefine.progress import Progress

    recipe = _recipe(Path(target), judges or [])
    groups, source = _rows(recipe, Path(target))
    found = _measure(recipe, groups, gold, limit, repeats, canaries, Progress())
    found = {"source": source, **found}
    path = recipe.run_path / "judges" / ("+".join(j["judge"] for j in found["judges"])[:80] + ".json")
    write_json(path, found)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(render(j) for j in found["judges"]))
    if found["between"]:
        typer.echo("\n" + render_others(found["between"]))
    typer.echo(f"\n{path}")


def _measure(
    recipe: Recipe, groups: list[Group], gold: str | None, limit: int | None, repeats: int, canaries: int, progress: Any
) -> dict[str, Any]:
    """The reports on all judges, and how they agree with each other."""
    from itertools import combinations

    from prefine.errors import PrefineError
    from prefine.label.agreement import agreement
    from prefine.label.judge_report import chosen, measure
    from prefine.models.held import release
    from prefine.pair.selection import scorers
    from prefine.registry import labelers

    rows = chosen(groups, limit)
    known = {*scorers(rows), *(c.judge for g in rows for c in g.comparisons)}
    if gold is not None and gold not in known:
        from prefine.errors import nearest

        raise PrefineError(f"--gold: no response has a score by '{gold}'{nearest(gold, known)}")
    assert recipe.label is not None
    reports, verdicts = [], []
    for block in recipe.label.labelers:
        labeler = labelers.build(block)
        try:
            made, judged = measure(
                labeler, recipe, rows, gold=gold, repeats=repeats, num_canaries=canaries, progress=progress
            )
        finally:
            labeler.close()
            release()
        reports.append(made)
        verdicts.append(judged)
    between = [
        {"judges": [reports[i]["judge"], reports[j]["judge"]], **agreement(verdicts[i], verdicts[j])}
        for i, j in combinations(range(len(reports)), 2)
    ]
    return {"gold": gold, "judges": reports, "between": between}


def _recipe(target: Path, judges: list[str]) -> Recipe:
    """The recipe of a file or a run, with the judges as its label section; checked whole, as any recipe."""
    from prefine.errors import PrefineError
    from prefine.recipe.file import load_recipe

    run = target if target.is_dir() else None
    file = next(iter(sorted(run.glob("recipe*.yaml"))), run / "recipe.yaml") if run else target
    if run is not None and not file.exists():
        raise PrefineError(f"{run}: this is no run, it has no recipe.yaml")
    # Only rows and judges count here: what comes later need not fit the judges.
    later = [f"{stage}=null" for stage in ("pair", "train", "evaluate", "report")]
    changes = [*later, "variants={}"] + ([f"label={{labelers: [{', '.join(judges)}]}}"] if judges else [])
    recipe = load_recipe(file, changes)
    if recipe.label is None:
        raise PrefineError(f"{target}: the recipe has no label section; name a judge, as in --judge '{{name: choice}}'")
    if run is not None:
        recipe = recipe.model_copy(update={"output_dir": str(run.parent), "name": run.name})
    return recipe


def _rows(recipe: Recipe, target: Path) -> tuple[list[Group], str]:
    """The responses of the last stage that has any, and where they are."""
    from prefine.errors import PrefineError
    from prefine.rundir import RunDir

    for stage in ROWS:
        for folder in reversed(RunDir(recipe.run_path).results(stage)):
            groups = list(folder.groups())
            if any(g.candidates for g in groups):
                return groups, str(folder.path)
    if not target.is_dir() and recipe.generate is None:
        from prefine.pipeline import run_recipe
        from prefine.progress import Progress

        run = run_recipe(recipe, stages=["data"], progress=Progress())
        folder = run.results("data")[-1]
        groups = list(folder.groups())
        if any(g.candidates for g in groups):
            return groups, str(folder.path)
    raise PrefineError(f"{target}: there are no responses to judge yet; run `prefine generate` with this recipe first")
