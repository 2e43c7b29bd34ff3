"""`prefine demo`: the whole pipeline on the embedded tiny world."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with this many seeds and report the spread.")] = 1,
    output: Annotated[str, typer.Option(metavar="DIR", help="Where the runs go.")] = "runs/demo",
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Run everything on the embedded default: sft start, samples, teacher labels, dpo, simpo and pad, evaluation."""
    from pathlib import Path

    from prefine.cli import stages
    from prefine.cli.results import show_results
    from prefine.demo import run
    from prefine.progress import Progress

    stages.note_run(Path(output))
    finished = run(seeds=seeds, output=Path(output), progress=Progress())
    show_results(finished.path)
    typer.echo(f"done: {finished.path / 'report.html'}")
