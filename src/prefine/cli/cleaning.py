"""`prefine data dedup`, `decontaminate`, `select` and `split`: steps over a folder of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefine.cli.blocks import Debug, Folder, Settings, evaluation_set, say, settings_of
from prefine.cli.mixing import app

if TYPE_CHECKING:
    from prefine.rundir import StageDir

Out = Annotated[str | None, typer.Option("--out", help="The new folder; needed unless it is a dry run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be dropped, with examples; write nothing.")]


@app.command()
def dedup(
    folder: Folder,
    out: Out = None,
    near: Annotated[
        bool, typer.Option("--near/--exact-only", help="Also drop prompts that are nearly the same.")
    ] = True,
    threshold: Annotated[float, typer.Option(help="Share of 5-grams in common from which prompts are near.")] = 0.8,
    priority: Annotated[
        list[str] | None, typer.Option(help="A source whose prompts stay before those of others; may be repeated.")
    ] = None,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Merge prompts that read the same, settle contradictions, and drop prompts that are nearly the same."""
    blocks: list[dict[str, Any]] = [{"name": "exact_duplicates"}]
    if near:
        blocks.append({"name": "near_duplicates", "threshold": threshold, "priority": priority or None})
    _run(folder, blocks, out, dry_run)


@app.command()
def decontaminate(
    folder: Folder,
    against: Annotated[
        list[str],
        typer.Option(metavar="FILE[:FIELD,...]", help="An evaluation set and its text fields; may be repeated."),
    ],
    out: Out = None,
    n: Annotated[int, typer.Option("-n", help="Words of an n-gram; 13 for items of 200 words and more.")] = 8,
    threshold: Annotated[float, typer.Option(help="Share of an item's words above which a row is dropped.")] = 0.5,
    include_responses: Annotated[bool, typer.Option("--include-responses", help="Also look into responses.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Flag rows whose vectors by this model are near an item's; they stay.")
    ] = None,
    similarity: Annotated[float, typer.Option(help="With --model: the least cosine.")] = 0.9,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Drop rows whose user turns hold an item of an evaluation set; the evidence is in the decisions."""
    sets = [evaluation_set(text) for text in against]
    block: dict[str, Any] = {
        "name": "decontaminate",
        "against": sets,
        "n": n,
        "n_long": max(13, n),
        "threshold": threshold,
    }
    block |= {"include_responses": include_responses, "model": model, "similarity": similarity}
    _run(folder, [block], out, dry_run)


@app.command()
def select(
    folder: Folder,
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step by name (prefine list cleaners).")],
    settings: Settings = None,
    out: Out = None,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Apply one step: flags, gap, length, deita, random, top_score, k_center or any other."""
    _run(folder, [{"name": step, **settings_of(settings)}], out, dry_run)


@app.command()
def split(
    folder: Folder,
    out: Out = None,
    test_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share of the prompts held out.")] = 0.1,
    salt: Annotated[str, typer.Option(help="Another text gives another split.")] = "prefine",
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Decide anew which prompts are held out; dialogues that begin alike stay together."""
    _run(folder, [{"name": "split", "test_fraction": test_fraction, "salt": salt}], out, dry_run)


def _run(folder: str, blocks: list[dict[str, Any]], out: str | None, dry_run: bool) -> None:
    """Apply steps to a folder, and tell what they did."""
    from prefine.data.folders import open_folder, write_folder
    from prefine.data.steps import clear, run_steps
    from prefine.errors import PrefineError
    from prefine.inputs import component_inputs, that_count
    from prefine.models.text_vectors import TextModels
    from prefine.progress import Progress
    from prefine.registry import cleaners

    if dry_run == (out is not None):
        raise PrefineError("give either a new folder (--out DIR) or --dry-run")
    source = open_folder(Path(folder))
    checked = [cleaners.check(block) for block in blocks]
    progress = Progress()
    if out is None:
        outcome = run_steps(source, checked, None, progress, TextModels())
        _tell(outcome.steps)
        return
    inputs = {k: v for i, b in enumerate(checked) for k, v in component_inputs(b, f"step-{i}").items()}

    def work(target: StageDir) -> Any:
        clear(target)
        outcome = run_steps(source, checked, target, progress, TextModels())
        return outcome.counts, {"steps": outcome.steps}

    written, done = write_folder(
        Path(out), "clean", {"steps": [that_count(b) for b in checked]}, [source], inputs, work
    )
    _tell(written.manifest()["steps"])
    say(written, done)


def _tell(steps: list[dict[str, Any]]) -> None:
    from prefine.cli.show import safe

    for told in steps:
        typer.echo(f"{told['step']}: {told['rows_in']} rows in, {told['rows_out']} out")
        for reason, n in {**told["dropped"], **told["parts_dropped"]}.items():
            kind = "dropped" if reason in told["dropped"] else "dropped inside of rows"
            typer.echo(f"  {kind}: {n} {reason}")
        for reason, rows in told["shown"].items():
            for row in rows:
                facts = ", ".join(f"{k}: {v}" for k, v in row.items() if k != "id")
                typer.echo(safe(f"  {reason}: {row['id'][:12]}  {facts}")[:300])
        known = ("step", "rows_in", "rows_out", "dropped", "parts_dropped", "seconds", "shown")
        for name, value in told.items():
            if name not in known and value not in (None, {}, []):
                typer.echo(f"  {name}: {json.dumps(value, ensure_ascii=False)[:600]}")
