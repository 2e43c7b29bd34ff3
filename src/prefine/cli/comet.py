"""`prefine comet`: the environment that COMET needs for itself."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Set up COMET, which scores translations in an environment of its own.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """Set up COMET, which scores translations in an environment of its own."""


@app.command()
def setup(
    environment: Annotated[
        str | None, typer.Option(help="Folder; by default PREFINE_COMET_ENV, or one in the user's cache.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="Python to make it with, 3.9 to 3.12; by default this one.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Make the environment with unbabel-comet, once; some minutes and 2 GB, more with CUDA."""
    from prefine.evaluate.comet.environment import VERSION, command, set_up
    from prefine.evaluate.comet.environment import environment as place_of

    typer.echo(f"unbabel-comet {VERSION} in {place_of(environment)}", err=True)
    set_up(environment, python, force=force)
    typer.echo(str(command(environment)))
