"""`prefine show`: the rows of a run or a file, readable, and the tokens that training sees."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefine.schema import Candidate, Example, Group, Message

STAGES = ("pair", "label", "generate", "prompts", "data", "evaluate")
"""Stages with rows; the first that has any is shown unless one is asked for."""


def show(
    target: Annotated[str, typer.Argument(metavar="RUN|FILE", help="A run, a stage's folder in it, or a data file.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many rows.")] = 3,
    row_id: Annotated[str | None, typer.Option("--id", help="Only rows whose id begins with this.")] = None,
    stage: Annotated[str | None, typer.Option(help="Which stage's rows: " + ", ".join(STAGES) + ".")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show tokens; those trained on stand in square brackets.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Whose tokenizer; by default that of the run's recipe.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Show rows: prompts with their responses, scores and pairs."""
    from prefine.errors import PrefineError

    rows, source, run = _open(Path(target), stage)
    if row_id is not None:
        rows = (r for r in rows if r.id.startswith(row_id) or getattr(r, "group_id", "").startswith(row_id))
    chosen = list(itertools.islice(rows, n))
    if not chosen:
        raise PrefineError(f"{source}: no row" + (f" has an id that begins with '{row_id}'" if row_id else "s in it"))
    encoder = _Encoder(run, model, target) if tokens else None
    if not as_json:
        typer.echo(source)
    for row in chosen:
        if as_json:
            typer.echo(json.dumps(_as_dict(row), ensure_ascii=False))
        else:
            typer.echo("\n" + "\n".join(_lines(row)))
            if encoder is not None:
                typer.echo("\n".join(encoder.lines(row)))


def _open(path: Path, stage: str | None) -> tuple[Iterator[Group | Example], str, Path | None]:
    """The rows, where they are from, and the run they belong to."""
    from prefine.errors import PrefineError, nearest
    from prefine.rundir import RunDir, StageDir

    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise PrefineError(f"there is no run or file {path}{nearest(path.name, beside) if beside else ''}")
    if stage is not None and stage not in STAGES:
        raise PrefineError(f"there is no stage '{stage}' with rows{nearest(stage, STAGES)}")
    if _recipe_of(path) is not None:
        run = RunDir(path)
        found = {s: run.results(s) for s in STAGES}
        with_rows = [s for s in STAGES if any(r.parts for r in found[s])]
        wanted = stage or next(iter(with_rows), None)
        if wanted is None or wanted not in with_rows:
            raise PrefineError(
                f"{path} has no finished rows of {wanted or 'any stage'}; it has: {', '.join(with_rows)}"
            )
        folder = [r for r in found[wanted] if r.parts][-1]
        return _stage_rows(folder), f"{folder.path} (rows of: {', '.join(with_rows)})", path
    if list(path.glob("part-*.parquet")):
        run_path = path.parent.parent
        folder = StageDir(path, path.parent.name, "", run_path)
        return _stage_rows(folder), str(path), run_path if _recipe_of(run_path) is not None else None
    return _file_rows(path), str(path), None


def _recipe_of(run: Path) -> Path | None:
    """The settings that a run was made with; the first variant's where it has several. None: this is no run."""
    return next(iter([*run.glob("recipe.yaml"), *sorted(run.glob("recipe-*.yaml"))]), None)


def _stage_rows(folder: Any) -> Iterator[Group | Example]:
    import pyarrow.parquet as pq

    return folder.examples() if "responses" in pq.read_schema(folder.parts[0]).names else folder.groups()


def _file_rows(path: Path) -> Iterator[Group | Example]:
    import pyarrow.parquet as pq

    from prefine.data.load import load
    from prefine.recipe import Data
    from prefine.schema import PAIR_SCHEMA, example_from_row

    if path.suffix == ".parquet" and pq.read_schema(path).names == PAIR_SCHEMA.names:
        return (example_from_row(r) for r in pq.read_table(path).to_pylist())
    return iter(load(Data(path=str(path), max_drop_fraction=1.0)).groups)


def _as_dict(row: Group | Example) -> dict[str, Any]:
    from prefine.schema import Group, example_to_row, group_to_row

    return group_to_row(row) if isinstance(row, Group) else example_to_row(row)


def _lines(row: Group | Example) -> Iterator[str]:
    from prefine.schema import Group

    if isinstance(row, Group):
        yield f"prompt {row.id[:12]}  ({row.split}, {row.task}, {len(row.candidates)} responses)"
        yield from _messages(row.messages)
        number = {c.id: i for i, c in enumerate(row.candidates, 1)}
        for i, candidate in enumerate(row.candidates, 1):
            yield f"  response {i}  {_about(candidate)}".rstrip()
            yield from _messages(candidate.completion, "    ", alone="assistant")
        for c in row.comparisons:
            first, second = (number.get(c.a, c.a), number.get(c.b, c.b))
            said = {"a": f"{first} over {second}", "b": f"{second} over {first}"}
            yield f"  {c.judge} prefers {said.get(c.outcome, f'neither of {first} and {second} ({c.outcome})')}"
    else:
        yield f"example {row.id[:12]}  (prompt {row.group_id[:12]}, {row.split}, {len(row.responses)} responses)"
        yield from _messages(row.prompt)
        for i, response in enumerate(row.responses):
            rank = {1: [""], 2: ["chosen", "rejected"]}.get(len(row.responses), [f"rank {i + 1}"] * (i + 1))[i]
            score = f"score {row.scores[i]:.4g}" if row.scores else ""
            yield f"  response {i + 1}  {rank}  {score}".rstrip()
            yield from _messages(response, "    ", alone="assistant")


def _about(candidate: Candidate) -> str:
    writer = " ".join(candidate.generator[k] for k in ("run", "role", "mode") if k in candidate.generator)
    parts = [writer] if writer else []
    parts += [f"{s.scorer}{f'/{s.aspect}' if s.aspect else ''} {_value(s.value, s.status)}" for s in candidate.scores]
    parts += [f"{name}: {str(value).lower()}" for name, value in candidate.labels.items()]
    if candidate.n_tokens is not None:
        parts.append(f"{candidate.n_tokens} tokens")
    if candidate.finish_reason:
        parts.append(f"ended by {candidate.finish_reason}")
    return ", ".join(parts)


def _value(value: float | None, status: str) -> str:
    return f"none ({status})" if value is None else f"{value:.4g}"


def _messages(messages: list[Message], indent: str = "  ", alone: str = "") -> Iterator[str]:
    """Messages with their roles; the role `alone` is left out where it is the only message."""
    for message in messages:
        head = "" if len(messages) == 1 and message["role"] == alone else f"{message['role']}: "
        for i, line in enumerate(message["content"].split("\n")):
            yield indent + (head if i == 0 else "") + safe(line)


def safe(text: str) -> str:
    """The text without control characters, which could otherwise steer the reader's terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


class _Encoder:
    """Rows as the trainer encodes them, with the tokenizer and the length limits of a recipe."""

    def __init__(self, run: Path | None, model: str | None, target: str) -> None:
        from prefine.errors import PrefineError
        from prefine.models.load import load_tokenizer
        from prefine.recipe import Model
        from prefine.recipe.file import load_recipe

        file = None if run is None else _recipe_of(run)
        recipe = None if file is None else load_recipe(file)
        if model is None and recipe is None:
            raise PrefineError(
                f"{target} belongs to no run; name the model whose tokenizer to use, --model tiny-student"
            )
        spec = Model(path=model) if model is not None else recipe.model if recipe is not None else None
        assert spec is not None
        self.tokenizer = load_tokenizer(spec)
        self.plain_text = recipe.data.plain_text if recipe else False
        self.train = recipe.train if recipe else None

    def lines(self, row: Group | Example) -> Iterator[str]:
        """Token by token: the shared prompt, then every response with the trained tokens in brackets."""
        from prefine.data.chat import encode
        from prefine.data.messages import Dropped
        from prefine.schema import Group

        prompt = row.messages if isinstance(row, Group) else row.prompt
        responses = [c.completion for c in row.candidates] if isinstance(row, Group) else row.responses
        finished = (
            [c.finish_reason != "length" for c in row.candidates] if isinstance(row, Group) else row.finished or None
        )
        limits = {} if self.train is None else {"max_length": self.train.max_length, "overlong": self.train.overlong}
        try:
            encoded = encode(self.tokenizer, prompt, responses, plain_text=self.plain_text, finished=finished, **limits)
        except Dropped as dropped:
            yield f"  tokens: this row would be dropped ({dropped})"
            return
        yield f"  prompt tokens: {len(encoded.prompt_ids)}"
        yield "    " + self._text(encoded.prompt_ids, [False] * len(encoded.prompt_ids))
        for i, (ids, mask) in enumerate(zip(encoded.responses, encoded.masks, strict=True), 1):
            yield f"  response {i} tokens: {len(ids)}, trained on: {sum(mask)}"
            yield "    " + self._text(ids, mask)
        noted = ", ".join(f"{k}: {v}" for k, v in encoded.flags.items() if v)
        if noted:
            yield f"  noted: {noted}"

    def _text(self, ids: list[int], mask: list[bool]) -> str:
        out = []
        for token, trained in zip(ids, mask, strict=True):
            text = safe(str(self.tokenizer.decode([token])))
            if sys.stdout.isatty():
                text = typer.style(text, fg="green", underline=True) if trained else typer.style(text, dim=True)
            out.append(f"[{text}]" if trained else f"{text}|")
        return "".join(out)
