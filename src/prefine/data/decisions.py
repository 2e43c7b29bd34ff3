"""The table that says of every row which step kept or dropped it, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefine.data.clean.base import Decided, Row, Verdict
from prefine.data.clean.rows import group_of
from prefine.durable import replacing

FOLDER = "decisions"
"""Stands beside the parts of a result, in a folder of its own, so that it is never read as data."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group_id", pa.string()),
        ("step", pa.string()),
        ("keep", pa.bool_()),
        ("reason", pa.string()),
        ("evidence", pa.string()),
    ]
)


@dataclass(frozen=True)
class Decision:
    """One step's word on a row, or on a response or comparison of the prompt `group_id`; `evidence` is JSON."""

    id: str
    group_id: str
    step: str
    keep: bool
    reason: str
    evidence: str

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.evidence) if self.evidence else {}


def decisions_of(row: Row, step: str, decided: Decided) -> list[Decision]:
    """The rows of the table for one row of data."""
    group = group_of(row)
    found: list[tuple[str, Verdict]] = [(row.id, decided.verdict), *decided.parts.items()]
    return [Decision(i, group, step, v.keep, v.reason, _json(v.evidence)) for i, v in found]


def _json(evidence: dict[str, Any]) -> str:
    return json.dumps(evidence, ensure_ascii=False, sort_keys=True, default=float) if evidence else ""


def write_decisions(folder: Path, rows: list[Decision]) -> None:
    """Add a part to the table in `folder`, durably."""
    table = folder / FOLDER
    table.mkdir(parents=True, exist_ok=True)
    number = len(list(table.glob("part-*.parquet")))
    with replacing(table / f"part-{number:05d}.parquet") as tmp:
        pq.write_table(pa.Table.from_pylist([asdict(r) for r in rows], SCHEMA), tmp, compression="zstd")


def read_decisions(folder: Path, ids: set[str] | None = None) -> Iterator[Decision]:
    """The table of a result in the order in which it was written; with `ids`, what is about them or their prompts."""
    for part in sorted((folder / FOLDER).glob("part-*.parquet")):
        wanted = pa.array(sorted(ids or ()), pa.string())
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches():
                if ids is not None:
                    about = [pc.is_in(batch[name], wanted) for name in ("id", "group_id")]  # type: ignore[attr-defined]
                    batch = batch.filter(pc.or_(*about))  # type: ignore[attr-defined]
                for row in batch.to_pylist():
                    yield Decision(**row)
