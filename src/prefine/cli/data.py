"""`prefine data`: looking at data before a run, taking it in, and writing it for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefine.data.card import Facts

app = typer.Typer(help="Look at data, take it in, write it for other tools.", no_args_is_help=True)

Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, a `datasets` folder, or a hub id.")]
Form = Annotated[str | None, typer.Option("--format", help="Format; by default detected (prefine list formats).")]


@app.callback()
def options() -> None:
    """Look at data, take it in, write it for other tools."""


@app.command()
def check(
    files: Files,
    form: Form = None,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer.")] = None,
    max_length: Annotated[int, typer.Option(min=1, help="Tokens beyond which an example is too long.")] = 2048,
    max_bad_fraction: Annotated[float, typer.Option(min=0, max=1, help="Fail above this share of bad rows.")] = 0.05,
    plain_text: Annotated[bool, typer.Option("--plain-text", help="Apply no chat template.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a list with one object per file.")] = False,
    debug: Debug = False,
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


@app.command("import")
def import_files(
    files: Files,
    out: Annotated[Path, typer.Option("--out", help="The folder for the groups; a new one.")],
    form: Form = None,
    license: Annotated[str | None, typer.Option(help="License of the files, as in cc-by-4.0.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the format given by --format.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the data set (commit of a hub id).")] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a hub data set or a `datasets` folder.")] = None,
    test_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share of the prompts held out.")] = 0.1,
    split_salt: Annotated[str, typer.Option(help="Another text gives another split.")] = "prefine",
    max_drop_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Stop above this share of dropped rows.")
    ] = 0.5,
    plain_text: Annotated[
        bool, typer.Option("--plain-text", help="Prompts are plain text, without templates.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write the groups of files of any format to a folder, which a recipe's data.path can name."""
    from prefine.data.folders import write_folder
    from prefine.data.intake import import_data
    from prefine.inputs import source_digests
    from prefine.progress import Progress
    from prefine.recipe import Data

    shared: dict[str, Any] = {
        "format": _format_of(form, settings or []),
        "revision": revision,
        "subset": subset,
        "split": split,
        "test_fraction": test_fraction,
        "split_salt": split_salt,
        "max_drop_fraction": max_drop_fraction,
        "plain_text": plain_text,
    }
    sources = [Data(path=f, **shared) for f in files]
    inputs = {f"{i}:{k}": v for i, source in enumerate(sources) for k, v in source_digests(source).items()}
    told = {**shared, "path": files, "license": license}
    folder, done = write_folder(
        out,
        "import",
        told,
        [],
        inputs,
        lambda target: import_data(sources, target, Progress(), license=license),
    )
    if not done:
        typer.echo(f"{out} holds this import already")
    _tell_import(folder.manifest(), out)


def _format_of(form: str | None, given: list[str]) -> str | dict[str, Any] | None:
    """The format as `data.format` of a recipe has it."""
    import yaml

    from prefine.errors import PrefineError
    from prefine.registry import formats

    if given and form is None:
        raise PrefineError("--set gives a setting of the format that --format names; name it")
    out: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise PrefineError(f"--set {text}: a setting is written KEY=VALUE")
        out[key] = yaml.safe_load(value)
    checked = formats.check({"name": form, **out}) if form is not None else None
    return checked if out else form


def _tell_import(manifest: dict[str, Any], out: Path) -> None:
    counts = manifest["counts"]
    extra = counts["extra"]
    for file, form in manifest["formats"].items():
        typer.echo(f"{file}: format {form}")
    typer.echo(
        f"{counts['rows_in']} rows in, {counts['rows_out']} used, {sum(counts['dropped'].values())} dropped; "
        f"{extra['groups']} prompts ({extra.get('groups_test', 0)} held out), {extra['candidates']} responses, "
        f"{extra.get('comparisons', 0)} comparisons"
    )
    for reason, n in counts["dropped"].items():
        typer.echo(f"  dropped {n}: {reason} ({', '.join(manifest['dropped_rows'].get(reason, [])[:3])})")
    typer.echo("licenses: " + ", ".join(f"{name} ({n} prompts)" for name, n in sorted(manifest["licenses"].items())))
    typer.echo(f"written to {out}")


@app.command()
def export(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Groups, a pair stage's examples, or a run.")],
    to: Annotated[str, typer.Option("--to", help="trl, trl_unpaired, trl_sft, llama_factory, alignment_handbook, ...")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write; a new one.")],
    view: Annotated[
        str | None, typer.Option(help="pairs, list, unpaired, sft or spans; by default that of the format.")
    ] = None,
    pairer: Annotated[
        str | None,
        typer.Option(help="How groups become pairs or sft rows: a pairer's name, or {name: ..., key: value}."),
    ] = None,
    score: Annotated[str | None, typer.Option(help="The score that decides, where there are several.")] = None,
    threshold: Annotated[float | None, typer.Option(help="unpaired: desirable above this score.")] = None,
    spans: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="spans: the model whose tokens are aligned, or {tokenizer: MODEL, reward: ...}."
        ),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="trl formats: also write ids, for an exact way back.")] = False,
    name: Annotated[str, typer.Option(help="Name of the data set, in the card and in dataset_info.json.")] = "prefine",
    license: Annotated[str | None, typer.Option(help="License of rows whose source names none.")] = None,
    allow_noncommercial: Annotated[
        bool, typer.Option("--allow-noncommercial", help="Also write rows that forbid commercial use.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write rows in the columns of another trainer, or for the hub with a data card."""
    from prefine.cli.exporting import export_folder

    facts = export_folder(
        source,
        to,
        out,
        view=view,
        pairer=pairer,
        score=score,
        threshold=threshold,
        spans=spans,
        with_ids=ids,
        name=name,
        license=license,
        allow_noncommercial=allow_noncommercial,
    )
    _tell_export(facts, out)


def _tell_export(facts: Facts, out: Path) -> None:
    typer.echo(", ".join(f"{split}: {n} rows" for split, n in facts.rows.items()) + f" written to {out}")
    for reason, n in sorted(facts.dropped.items()):
        typer.echo(f"  left out {n}: {reason}")
    typer.echo("licenses: " + (", ".join(sorted(facts.licenses)) or "unknown"))


@app.command()
def show(
    target: Annotated[str, typer.Argument(metavar="DIR|FILE", help="A folder of rows, a run, or a data file.")],
    row_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only rows whose id begins with this.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many rows.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
    debug: Debug = False,
) -> None:
    """Show rows: prompts with their responses, scores and pairs."""
    from prefine.cli.show import show as show_rows

    show_rows(target, n=n, row_id=row_id, stage=None, tokens=False, model=None, as_json=as_json, debug=debug)
