"""`prefine report`: the page of a recipe's run, or of any finished runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefine.cli import stages


def report(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN [RUN]... | RECIPE [KEY=VALUE]...",
            help="Directories of finished runs, or a folder with several; or a recipe, for the stage of its run.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Where the files go: by default the run's own folder, of several runs ./report."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Prompts shown side by side.")] = 24,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Write the page with results, curves and responses: of a recipe's run, or of any runs side by side."""
    if not Path(targets[0]).is_dir():
        _stage(targets, out, title)
        return
    from prefine.cli.results import show_results
    from prefine.errors import PrefineError
    from prefine.report.stage import build, cards

    given = [run for target in targets for run in runs_of(target)]
    runs = [run for run in given if (run / "evaluate").is_dir()]
    for card in cards([run for run in given if run not in runs]):
        typer.echo(f"card of a model that was not evaluated: {card}")
    if not runs:
        raise PrefineError(f"{', '.join(targets)} has no finished evaluation to show; run 'prefine evaluate' first")
    folder = Path(out) if out else runs[0] if len(runs) == 1 else Path("report")
    stages.note_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = build(runs, folder / "report.html", title, num_examples=examples)
    show_results(folder)
    typer.echo(f"done: {page}")


def _stage(targets: list[str], out: str | None, title: str | None) -> None:
    """The stage of a recipe, which says itself where its run is."""
    from prefine.errors import PrefineError

    recipe, *changes = targets
    wrong = [change for change in changes if "=" not in change]
    if wrong:
        raise PrefineError(f"{recipe}: there is no such run directory, and '{wrong[0]}' is no setting of a recipe")
    if out is not None:
        raise PrefineError("--out is for run directories; the report of a recipe goes into its run")
    stages.run_stage(recipe, [*changes, *([f"report.title={title}"] if title else [])], "report")


def runs_of(target: str) -> list[Path]:
    """The run directory, or the runs in a folder of runs, by name."""
    from prefine.errors import PrefineError, nearest

    path = Path(target)
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise PrefineError(f"there is no run directory {target}{nearest(path.name, beside) if beside else ''}")
    if _is_run(path):
        return [path]
    found = sorted(p for p in path.iterdir() if _is_run(p))
    if not found:
        raise PrefineError(f"{target} has no finished evaluation, nor has a folder in it; run 'prefine evaluate' first")
    return found


def _is_run(path: Path) -> bool:
    return (path / "evaluate").is_dir() or (path / "train").is_dir()
