"""Components and sources as they are written on the command line, and what every command that writes a folder says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefine.rundir import StageDir

Folder = Annotated[str, typer.Argument(metavar="DIR", help="A folder of rows (prefine data import), or a run.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings, as in a recipe: threshold=0.9.")
]


def evaluation_set(text: str) -> dict[str, Any]:
    """`FILE` or `FILE:FIELD,FIELD`."""
    path, colon, fields = text.rpartition(":")
    if not colon or Path(text).exists():
        return {"path": text}
    return {"path": path, "fields": [f.strip() for f in fields.split(",") if f.strip()]}


def value_of(text: str) -> Any:
    """A value as YAML, as overrides of a recipe are read."""
    from prefine.errors import PrefineError
    from prefine.recipe.text import Document, parse_value

    document = Document()
    found = parse_value(text, (text,), document)
    if document.problems:
        raise PrefineError(document.problems[0].message)
    return found


def source_block(text: str) -> dict[str, Any]:
    """A source of a mixture: a mapping, or its path alone."""
    from prefine.errors import PrefineError

    found = value_of(text) if text.lstrip().startswith("{") else {"path": text}
    if not isinstance(found, dict):
        raise PrefineError(f"{text}: a source is written '{{path: rows.jsonl, count: 100}}'")
    return found


def settings_of(settings: list[str] | None) -> dict[str, Any]:
    """`KEY=VALUE` arguments as a mapping."""
    from prefine.errors import PrefineError

    out: dict[str, Any] = {}
    for text in settings or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise PrefineError(f"{text}: a setting is written KEY=VALUE, as in threshold=0.9")
        out[key] = value_of(value)
    return out


def say(folder: StageDir, done: bool) -> None:
    """One line on the folder that was written, or was there already."""
    counts = folder.manifest()["counts"]
    dropped = ", ".join(f"{n} {reason}" for reason, n in counts["dropped"].items()) or "none"
    after = "" if done else " (already done)"
    typer.echo(f"{folder.path}: {counts['rows_in']} in, {counts['rows_out']} out, dropped: {dropped}{after}")
