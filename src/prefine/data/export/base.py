"""What all exports share: a row of a view, what an exporter has to say, and how its files are written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from prefine.data.card import Facts
from prefine.data.export.files import SplitFiles
from prefine.data.messages import Dropped
from prefine.durable import publishing
from prefine.errors import PrefineError
from prefine.rundir import Counts
from prefine.schema import Example, Message

VIEWS = ("pairs", "list", "unpaired", "sft", "spans")
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SPLITS = ("train", "test")


@dataclass
class Row(Example):
    """An example on its way out: the responses of one prompt, best first where they are ordered."""

    task: str = ""
    models: list[str] = field(default_factory=list)
    """Who wrote each response; empty where that is not known."""
    named: dict[str, list[float | None]] = field(default_factory=dict)
    """One list of scores per scorer, as long as the responses."""
    ops: list[dict[str, Any]] = field(default_factory=list)
    """The view `spans`: how the first response becomes the second."""

    def score(self, i: int) -> float | None:
        """The score of a response, or None; never NaN or infinite."""
        return finite(self.scores[i]) if len(self.scores) == len(self.responses) else None


@dataclass
class Wish:
    """What was asked for."""

    view: str
    with_ids: bool = False
    """Also write the ids of prompts and responses, so that a later import gives the same groups."""
    scorers: tuple[str, ...] = ()
    """Scorers of the rows, each of which becomes a column of the view `list`."""
    name: str = "prefine"


class Exporter(Protocol):
    """One format. Its first view is the one that it writes by default."""

    views: ClassVar[tuple[str, ...]]

    def schema(self, wish: Wish) -> pa.Schema | None:
        """The columns and their types; None for JSON lines."""
        ...

    def file(self, split: str, wish: Wish) -> str:
        """The path of a split's file below the folder of the export."""
        ...

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        """The row as the format has it; raises `Dropped` for what the format cannot say."""
        ...

    def finish(self, folder: Path, wish: Wish, facts: Facts) -> None:
        """Write what belongs to the data besides the rows."""
        ...


def write_export(exporter: Exporter, rows: Iterable[Row], wish: Wish, out: Path, facts: Facts, counts: Counts) -> None:
    """Write the rows into the new folder `out`, whole or not at all.

    `counts` gets what the format cannot say as dropped; `facts` gets the rows of each split.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise PrefineError(f"{out} is there already; name a new folder with --out")
    written: Counter[str] = Counter()
    with publishing(out) as folder:
        with SplitFiles(folder, exporter.schema(wish), lambda split: exporter.file(split, wish)) as files:
            for row in rows:
                try:
                    line = exporter.row(row, wish)
                except Dropped as dropped:
                    counts.drop(dropped.reason)
                    continue
                split = row.split if row.split in SPLITS else SPLITS[0]
                files.add(split, line)
                written[split] += 1
        if not written:
            reasons = ", ".join(f"{n} x {reason}" for reason, n in sorted(counts.dropped.items()))
            raise PrefineError(f"{facts.where}: no row for the view '{wish.view}' ({reasons or 'there are none'})")
        facts.rows = {split: written[split] for split in SPLITS if written[split]}
        facts.dropped = dict(counts.dropped)
        exporter.finish(folder, wish, facts)
    counts.rows_out += sum(written.values())


def finite(value: float | None) -> float | None:
    """The number, or None where it is none."""
    return value if value is not None and math.isfinite(value) else None


def messages(turns: Sequence[Message]) -> list[dict[str, str]]:
    """Messages with their two keys alone."""
    return [{"role": m["role"], "content": m["content"]} for m in turns]


def single(response: Sequence[Message]) -> str:
    """The text of a response that is one message; others cannot be said in one column of text."""
    if len(response) != 1:
        raise Dropped("response_of_several_messages")
    return response[0]["content"]
