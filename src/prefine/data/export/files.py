"""One file per split, written as the rows come: Parquet with given types, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 1_000
"""Rows of a row group."""


class SplitFiles:
    """Files below `folder`, one per split, made when their first row comes. Use as a context manager."""

    def __init__(self, folder: Path, schema: pa.Schema | None, name: Callable[[str], str]) -> None:
        self.folder, self.schema, self.name = folder, schema, name
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self._open: dict[str, pq.ParquetWriter | IO[str]] = {}

    def add(self, split: str, row: dict[str, Any]) -> None:
        rows = self._waiting.setdefault(split, [])
        rows.append(row)
        if len(rows) >= BATCH:
            self._write(split)

    def _write(self, split: str) -> None:
        file = self._open.get(split) or self._start(split)
        rows, self._waiting[split] = self._waiting[split], []
        if isinstance(file, pq.ParquetWriter):
            file.write_table(pa.Table.from_pylist(rows, self.schema))
        else:
            file.writelines(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in rows)

    def _start(self, split: str) -> pq.ParquetWriter | IO[str]:
        path = self.folder / self.name(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.schema is None:
            self._open[split] = path.open("w", encoding="utf-8")
        else:
            self._open[split] = pq.ParquetWriter(path, self.schema, compression="zstd")
        return self._open[split]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for split in [s for s, rows in self._waiting.items() if rows and kind is None]:
            self._write(split)
        for file in self._open.values():
            file.close()
