"""`prefine data mix`, `pair`, `leakage` and `why`."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefine.cli.blocks import Debug, Folder, Settings, say, settings_of, source_block, value_of
from prefine.cli.data import app

if TYPE_CHECKING:
    from prefine.rundir import StageDir


@app.command()
def mix(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="'{path: DIR or file or hub id, count: 100}', with one of count, fraction_of_source, weight_in_mix; "
            "name and cap if wanted.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="The new folder.")],
    total: Annotated[int | None, typer.Option(min=1, help="Training rows of the mixture, for weights.")] = None,
    seed: Annotated[int, typer.Option(help="Of the hash that orders the rows of a source.")] = 0,
    debug: Debug = False,
) -> None:
    """Take rows of several sources; what a smaller share takes is part of what a larger one takes."""
    from dataclasses import asdict

    from prefine.data import mix as mixing
    from prefine.data.folders import write_folder
    from prefine.data.steps import holds_examples
    from prefine.errors import PrefineError
    from prefine.progress import Progress

    parts = mixing.read_parts([source_block(text) for text in sources])
    with _folders_of([part.path for part in parts]) as folders:
        if len({holds_examples(f) for f in folders}) > 1:
            raise PrefineError("mix: some sources hold prompts and others hold pairs; mix before `prefine data pair`")
        settings = {"sources": [{**asdict(p), "path": None} for p in parts], "total": total, "seed": seed}
        progress = Progress()
        folder, done = write_folder(
            Path(out),
            "mix",
            settings,
            folders,
            {},
            lambda target: mixing.mix(parts, folders, total, seed, target, progress),
        )
    for told in folder.manifest()["sources"]:
        about = f"{told['taken']} training rows of {told['rows']} ({told['epochs']:g} epochs)"
        typer.echo(f"{told['name']}: {about}, {told['held_out']} held out")
    say(folder, done)


@app.command()
def pair(
    folder: Folder,
    settings: Settings = None,
    pairer: Annotated[str, typer.Option(help="How pairs or lists are made (prefine list pairers).")] = "best_worst",
    score: Annotated[
        str | None, typer.Option(help="The scorer that decides; a mapping of weights for several.")
    ] = None,
    out: Annotated[str, typer.Option("--out", help="The new folder.")] = "",
    debug: Debug = False,
) -> None:
    """Make pairs, lists or single responses of the prompts in a folder."""
    from prefine.data.folders import open_folder, write_folder
    from prefine.errors import PrefineError
    from prefine.pair import stage
    from prefine.progress import Progress
    from prefine.recipe import Data, Model, Pair, Recipe
    from prefine.registry import pairers

    if not out:
        raise PrefineError("prefine data pair needs a new folder: --out DIR")
    source = open_folder(Path(folder))
    block = pairers.check({"name": pairer, **settings_of(settings)})
    wanted = None if score is None else value_of(score)
    section = Pair(pairer=block, score=wanted)
    recipe = Recipe(name="pair", model=Model(path="none"), data=Data(path="none"), pair=section)
    progress = Progress()
    written, done = write_folder(
        Path(out), "pair", section.model_dump(), [source], {}, lambda f: stage.run(recipe, f, source, progress)
    )
    say(written, done)


@app.command()
def leakage(
    folders: Annotated[list[str], typer.Argument(metavar="DIR...", help="Folders of rows, compared all together.")],
    threshold: Annotated[float, typer.Option(help="Share of 5-grams in common from which prompts are near.")] = 0.8,
    max_share: Annotated[float, typer.Option(min=0, max=1, help="Fail above this share of leaking prompts.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Look for held-out prompts that the training part knows; exit with 1 when there are too many."""
    from prefine.data.folders import open_folder
    from prefine.data.leakage import leakage as find

    found = find([open_folder(Path(f)) for f in folders], threshold)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        sizes = ", ".join(f"{n} {split}" for split, n in sorted(found.prompts.items()))
        typer.echo(f"{sizes}; {found.held_out_leaked} held-out prompts leak ({found.share:.2%})")
        for how, n in found.found.items():
            typer.echo(f"  {how:<16}{n:>8}")
        for example in found.examples:
            typer.echo(f"  {example['how']}: {example['held_out'][:12]} is known by {example['training'][:12]}")
    raise typer.Exit(0 if found.share <= max_share else 1)


@app.command()
def why(
    row: Annotated[str, typer.Argument(metavar="ID", help="Of an example, prompt or response; or rows.jsonl#12.")],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of rows or a run that came after it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with whole texts.")] = False,
    debug: Debug = False,
) -> None:
    """Tell a row's whole history: every step's word on it, its scores and replies, back to its source."""
    from prefine.cli.why import as_dict, lines
    from prefine.data.lineage import history

    found = history(row, Path(folder))
    typer.echo(json.dumps(as_dict(found), indent=2, ensure_ascii=False) if as_json else "\n".join(lines(found)))


@contextlib.contextmanager
def _folders_of(paths: list[str]) -> Iterator[list[StageDir]]:
    """The folders that the paths mean; files and hub ids are imported into folders that are gone afterwards."""
    from prefine.data.folders import open_folder
    from prefine.data.intake import import_data
    from prefine.progress import Progress
    from prefine.recipe import Data
    from prefine.rundir import StageDir as Made

    with tempfile.TemporaryDirectory() as scratch:
        out = []
        for i, path in enumerate(paths):
            here = Path(path)
            if here.is_dir() and (list(here.glob("part-*.parquet")) or list(here.glob("recipe*.yaml"))):
                out.append(open_folder(here))
                continue
            made = Made(Path(scratch, str(i)), "data", "", Path(scratch))
            made.start()
            import_data([Data(path=path)], made, Progress())
            out.append(made)
        yield out
