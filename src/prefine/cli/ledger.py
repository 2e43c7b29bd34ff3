"""`prefine ledger`: what was asked of models in a run, and what came of it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefine.errors import PrefineError, nearest

if TYPE_CHECKING:
    from prefine.ledger import Ledger

app = typer.Typer(help="Look at the requests of a run and their replies.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run, or its ledger.sqlite.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]


@app.callback()
def options() -> None:
    """Look at the requests of a run and their replies."""


@app.command()
def stats(run: Run, as_json: AsJson = False, debug: Debug = False) -> None:
    """Print requests, tokens and cost by model and purpose, and failures by reason."""
    with _open(run) as ledger:
        found = ledger.stats()
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(_table(found)))


@app.command("retry-failed")
def retry_failed(
    run: Run,
    unparsed: Annotated[bool, typer.Option("--unparsed", help="Also ask again where no sense could be made.")] = False,
    debug: Debug = False,
) -> None:
    """Let the next run ask the failed requests again, also those that failed for good. Asks nothing itself."""
    statuses = ["failed_retryable", "failed_permanent", *(["parse_error"] if unparsed else [])]
    with _open(run) as ledger:
        n = ledger.retry(*statuses)
    typer.echo(f"{n} requests are asked again by the next run, and what was made without them is made anew")


@app.command()
def reparse(run: Run, as_json: AsJson = False, debug: Debug = False) -> None:
    """Read all stored replies anew, without a call, and correct their status."""
    from prefine.engines.reparse import reparse as read_anew

    with _open(run) as ledger:
        found = read_anew(ledger)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        changes = ", ".join(f"{n} {change}" for change, n in found["changed"].items()) or "nothing changed"
        typer.echo(f"{found['read']} replies read: {changes}")


def _open(run: str) -> Ledger:
    from prefine.ledger import Ledger

    path = Path(run)
    file = path / "ledger.sqlite" if path.is_dir() else path
    if not file.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() and not path.exists() else []
        hint = nearest(path.name, siblings) if siblings else ""
        raise PrefineError(f"{file}: there is no ledger; a run has one once it has asked a model by an engine{hint}")
    return Ledger(file)


def _table(found: list[dict[str, Any]]) -> list[str]:
    """One block per model and purpose, one line per status."""
    blocks: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        who = ", ".join(f"{k}: {v[:40]}" for k, v in row["identity"].items())
        blocks[who, row["purpose"] or "(no purpose)"].append(row)
    lines: list[str] = []
    for (who, purpose), rows in blocks.items():
        lines.append(f"{purpose} ({who})")
        for row in rows:
            reason = f" {row['reason']}" if row["reason"] else ""
            cost = f", ${row['cost_usd']:.4f}" if row["cost_usd"] is not None else ""
            tokens = f"{row['prompt_tokens']:,} prompt tokens ({row['cached_tokens']:,} cached)"
            lines.append(
                f"  {row['requests']:>8,} {row['status']}{reason}: {row['tries']:,} calls, {tokens},"
                f" {row['completion_tokens']:,} reply tokens{cost}"
            )
    return lines or ["no requests"]
