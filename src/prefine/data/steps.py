"""Runs cleaning steps over a folder of rows: a stream in, a stream out, every row accounted for."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prefine.data.clean.base import Cleaner, Models, Row, keep
from prefine.data.decisions import FOLDER, Decision, decisions_of, write_decisions
from prefine.durable import TMP_MARK
from prefine.errors import PrefineError
from prefine.ordering import number_of_rows
from prefine.progress import Progress
from prefine.registry import cleaners
from prefine.rundir import READ_AT_ONCE, Counts, StageDir
from prefine.schema import GROUP_SCHEMA, example_from_row, group_from_row

ROWS_PER_PART = 5_000
HEAVY = ("candidates", "comparisons")
"""Columns of groups that a look at the prompts alone does not read."""
SHOWN = 3
"""Dropped rows whose evidence is told, for each reason; all of it is in the decisions."""
HELD_OUT = "held_out"
"""Why a step that chooses among good rows keeps one."""


@dataclass
class Outcome:
    """What the steps did together: the balance of rows, and each step's own balance and facts."""

    counts: Counts
    steps: list[dict[str, Any]] = field(default_factory=list)


class FolderRows:
    """The rows of a result, groups or examples, from disk; with `training_only`, without the held-out ones."""

    def __init__(self, folder: StageDir, training_only: bool = False) -> None:
        self.folder, self.training_only = folder, training_only

    def __iter__(self) -> Iterator[Row]:
        return self._wanted(rows_in(self.folder))

    def prompts(self) -> Iterator[Row]:
        """Without responses and comparisons."""
        return self._wanted(_prompts_in(self.folder))

    def _wanted(self, rows: Iterator[Row]) -> Iterator[Row]:
        return (row for row in rows if not self.training_only or row.split != "test")


def rows_in(folder: StageDir) -> Iterator[Row]:
    """The groups or examples of a result, whichever its parts hold."""
    return folder.examples() if holds_examples(folder) else folder.groups()


def _prompts_in(folder: StageDir) -> Iterator[Row]:
    examples = holds_examples(folder)
    columns = ["id", "group_id", "split", "prompt"] if examples else [n for n in GROUP_SCHEMA.names if n not in HEAVY]
    empty: dict[str, list[Any]] = {name: [] for name in (("responses",) if examples else HEAVY)}
    for part in folder.parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(batch_size=READ_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    yield (example_from_row if examples else group_from_row)({**row, **empty})


def holds_examples(folder: StageDir) -> bool:
    """Whether the parts are pairs, lists or single responses, not groups."""
    if not folder.parts:
        raise PrefineError(f"{folder.path}: there are no rows in it (no part-*.parquet)")
    return "responses" in pq.read_schema(folder.parts[0]).names


def run_steps(
    source: StageDir,
    blocks: list[dict[str, Any]],
    target: StageDir | None,
    progress: Progress,
    models: Models | None = None,
) -> Outcome:
    """Apply the steps in their order to the rows of `source` and write rows and decisions to `target`.

    A step reads what the one before it has written, so memory does not grow with the rows. Without a `target` nothing
    is kept: a rehearsal. The target must be clear: what an interrupted process has left is done anew, as it was.
    """
    made: list[Cleaner] = [cleaners.build(block) for block in blocks]
    for step in made:
        step.prepare(models)
    outcome = Outcome(Counts(number_of_rows(source)))
    with tempfile.TemporaryDirectory(prefix=f"steps{TMP_MARK}", dir=target.path if target else None) as scratch:
        for i, (step, name) in enumerate(zip(made, _names(blocks), strict=True)):
            out = target if i + 1 == len(made) else StageDir(Path(scratch, f"rows-{i}"), "clean", "", Path(scratch))
            outcome.steps.append({"step": name, **_apply(step, name, source, out, target, progress)})
            if source.path.parent == Path(scratch):
                shutil.rmtree(source.path)
            source = out or source
    if models is not None:
        models.close()
    outcome.counts.rows_out = outcome.steps[-1]["rows_out"]
    for told in outcome.steps:
        for reason, n in told["dropped"].items():
            outcome.counts.drop(reason, n)
        for reason, n in told["parts_dropped"].items():
            outcome.counts.note(f"parts_dropped:{reason}", n)
    return outcome


def clear(folder: StageDir) -> None:
    """Make a folder ready for its one writer, without what an interrupted process has left in it."""
    folder.start()
    for part in folder.parts:
        part.unlink()
    shutil.rmtree(folder.path / FOLDER, ignore_errors=True)


def _names(blocks: list[dict[str, Any]]) -> list[str]:
    """The steps by name; a second one of a name gets a number."""
    seen: Counter[str] = Counter()
    out = []
    for block in blocks:
        seen[block["name"]] += 1
        out.append(block["name"] if seen[block["name"]] == 1 else f"{block['name']} {seen[block['name']]}")
    return out


def _apply(
    step: Cleaner,
    name: str,
    source: StageDir,
    out: StageDir | None,
    decided_in: StageDir | None,
    progress: Progress,
) -> dict[str, Any]:
    """One step over all rows; its balance and facts."""
    began = time.monotonic()
    step.fit(FolderRows(source, step.training_only))
    counts, parts = Counts(), Counter[str]()
    shown: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    writer = Writer(out, decided_in)
    with progress.task(name, total=number_of_rows(source), unit="rows") as tick:
        for row in rows_in(source):
            untouched = step.training_only and row.split == "test"
            decided = keep(row, HELD_OUT) if untouched else step.decide(row)
            counts.rows_in += 1
            counts.rows_out += len(decided.rows)
            if not decided.verdict.keep:
                counts.drop(decided.verdict.reason)
                some = shown.setdefault(decided.verdict.reason, [])
                some.append((row.id, decided.verdict.evidence))
                some.sort(key=lambda found: found[0])
                del some[SHOWN:]
            parts.update(v.reason for v in decided.parts.values() if not v.keep)
            writer.add(decided.rows, decisions_of(row, name, decided))
            tick(1)
    writer.close()
    if not counts.rows_out and out is not None:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in counts.as_dict()["dropped"].items())
        raise PrefineError(f"{name}: no row is left of {counts.rows_in} ({reasons or 'there were none'})")
    told = {k: v for k, v in counts.as_dict().items() if k != "extra"}
    seconds = round(time.monotonic() - began, 3)
    told |= {"parts_dropped": dict(sorted(parts.items())), "seconds": seconds}
    return {**told, "shown": {k: [{"id": i, **e} for i, e in found] for k, found in shown.items()}, **step.facts()}


class Writer:
    """Rows and decisions, written in parts; either may go nowhere."""

    def __init__(self, rows: StageDir | None, decisions: StageDir | None) -> None:
        self._rows: list[Any] = []
        self._decisions: list[Decision] = []
        self._to, self._said = rows, decisions
        if rows is not None:
            rows.path.mkdir(parents=True, exist_ok=True)

    def add(self, rows: list[Row], decisions: list[Decision]) -> None:
        self._rows += rows if self._to is not None else []
        self._decisions += decisions if self._said is not None else []
        if max(len(self._rows), len(self._decisions) // 4) >= ROWS_PER_PART:
            self._flush()

    def _flush(self) -> None:
        if self._decisions and self._said is not None:
            write_decisions(self._said.path, self._decisions)
        if self._rows and self._to is not None:
            self._to.write_part(self._rows)
        self._rows, self._decisions = [], []

    def close(self) -> None:
        self._flush()
