"""`prefine data`: looking at data before a run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(help="Look at data before a run.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """Look at data before a run."""


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, a `datasets` folder, or a hub id.")],
    form: Annotated[
        str | None, typer.Option("--format", help="Format; by default detected (prefine list formats).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer.")] = None,
    max_length: Annotated[int, typer.Option(min=1, help="Tokens beyond which an example is too long.")] = 2048,
    max_bad_fraction: Annotated[float, typer.Option(min=0, max=1, help="Fail above this share of bad rows.")] = 0.05,
    plain_text: Annotated[bool, typer.Option("--plain-text", help="Apply no chat template.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a list with one object per file.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Print format, counts, lengths and what is wrong; exit with 1 when too many rows are bad."""
    from prefine.cli.show import safe
    from prefine.data.check import check as check_data
    from prefine.data.check import render
    from prefine.recipe import Data

    tokenizer = _tokenizer(model) if model else None
    reports = [
        check_data(Data(path=f, format=form, plain_text=plain_text), tokenizer, max_length, max_bad_fraction)
        for f in files
    ]
    if as_json:
        typer.echo(json.dumps([r.as_dict() for r in reports], indent=2, ensure_ascii=False))
    else:
        typer.echo("\n\n".join("\n".join(map(safe, render(r).split("\n"))) for r in reports))
    raise typer.Exit(0 if all(r.ok for r in reports) else 1)


def _tokenizer(model: str) -> object:
    from prefine.models.load import load_tokenizer
    from prefine.recipe import Model

    return load_tokenizer(Model(path=model))
