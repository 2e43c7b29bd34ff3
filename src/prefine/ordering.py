"""The rows of a result without holding them: their number, a column, the groups in the order of their ids."""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefine.rundir import READ_AT_ONCE, StageDir
from prefine.schema import Group, group_from_row

ROWS_PER_BUCKET = 10_000
"""Rows that are sorted in memory."""


def groups_by_id(folder: StageDir) -> Iterator[Group]:
    """The groups of all parts, sorted. Rows already in order are streamed; others go through files by ranges of ids."""
    ids = list(column(folder, "id"))
    if all(a <= b for a, b in pairwise(ids)):
        yield from folder.groups()
        return
    ids.sort()
    limits = ids[ROWS_PER_BUCKET::ROWS_PER_BUCKET]
    del ids
    with tempfile.TemporaryDirectory() as scratch:
        buckets = [Path(scratch, f"{i:05d}.parquet") for i in range(len(limits) + 1)]
        _distribute(folder.parts, limits, buckets)
        for bucket in buckets:
            if bucket.exists():
                table = pq.read_table(bucket)
                order = pc.sort_indices(table, sort_keys=[("id", "ascending")])  # type: ignore[attr-defined]
                for start in range(0, len(order), READ_AT_ONCE):
                    rows = table.take(order[start : start + READ_AT_ONCE]).to_pylist()
                    yield from map(group_from_row, rows)
                bucket.unlink()


def number_of_rows(folder: StageDir) -> int:
    """Rows of all parts, without reading them."""
    return sum(pq.read_metadata(part).num_rows for part in folder.parts)


def column(folder: StageDir, name: str) -> Iterator[str]:
    """One column of all parts."""
    for part in folder.parts:
        yield from pq.read_table(part, columns=[name])[name].to_pylist()


def _distribute(parts: list[Path], limits: list[str], buckets: list[Path]) -> None:
    """Write every row to the bucket of its id: bucket i has the ids from `limits[i - 1]` up to before `limits[i]`."""
    writers: dict[int, pq.ParquetWriter] = {}
    try:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=8 * READ_AT_ONCE):
                    table = pa.Table.from_batches([batch])
                    places = [bisect_right(limits, i) for i in table["id"].to_pylist()]
                    for place in sorted(set(places)):
                        rows = table.take([k for k, p in enumerate(places) if p == place])
                        if place not in writers:
                            writers[place] = pq.ParquetWriter(buckets[place], table.schema, compression="zstd")
                        writers[place].write_table(rows)
    finally:
        for writer in writers.values():
            writer.close()
