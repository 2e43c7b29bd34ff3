"""Files of any format to a folder of groups, in bounded memory: what `prefine data import` does.

Converted rows are written in parts as they come. Only the groups of prompts that occurred more than once are read
again, a bucket at a time, and merged.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefine import recipe
from prefine.data.build import merge
from prefine.data.convert import Conversion, rows_text
from prefine.data.licenses import UNKNOWN
from prefine.data.load import contradictory
from prefine.data.split import split_of
from prefine.durable import TMP_MARK, replacing
from prefine.progress import Progress
from prefine.rundir import Counts, StageDir, to_table
from prefine.schema import GROUP_SCHEMA, Comparison, Group, group_from_row

ROWS_PER_PART = 5_000
ROWS_PER_BUCKET = 10_000
"""Rows of prompts that occurred more than once, merged together in memory."""


def import_data(
    sources: list[recipe.Data],
    folder: StageDir,
    progress: Progress,
    *,
    license: str | None = None,
) -> tuple[Counts, dict[str, Any]]:
    """Write the groups of all `sources`, each of a format of its own; equal prompts become one group.

    Returns the balance of rows and the facts for the manifest (formats, licenses, first rows dropped). Prompts that
    occur once stand first, in the order of their rows; those merged of several rows come after them. A source of which
    too many rows are dropped raises `PrefineError`.
    """
    for part in folder.parts:
        part.unlink()
    counts, notes, facts = Counts(), Counter[str](), {"formats": {}, "dropped_rows": {}}
    parts = _Parts(folder)
    with progress.task("importing", unit="rows") as step:
        for data in sources:
            rows = Conversion(data, license)
            for key, groups in rows.groups(step):
                for group in groups:
                    group.source.setdefault("row", key)
                    group.split = split_of(group, data.test_fraction, data.split_salt)
                    parts.add(group)
            rows.check_drops(data.max_drop_fraction)
            _add(counts, rows.counts)
            notes.update(rows.source.notes)
            facts["formats"][rows.where] = rows.format
            for reason, keys in rows.dropped_rows.items():
                facts["dropped_rows"].setdefault(reason, []).extend(keys)
    parts.flush()
    if parts.repeated:
        parts = _merge(folder, parts, sources[0], notes, progress)
    counts.rows_out = counts.rows_in - sum(counts.dropped.values())
    for name, n in {**parts.facts, **notes}.items():
        if n:
            counts.note(name, n)
    return counts, {**facts, "licenses": dict(parts.licenses), "split_salt": sources[0].split_salt}


def _add(counts: Counts, more: Counts) -> None:
    counts.rows_in += more.rows_in
    for reason, n in more.dropped.items():
        counts.drop(reason, n)


class _Parts:
    """Writes groups in parts, counts what is in them, and notices prompts that came before."""

    def __init__(self, folder: StageDir) -> None:
        self.folder = folder
        self.repeated: set[str] = set()
        self.later = 0
        """Groups whose prompt came before."""
        self.facts: Counter[str] = Counter()
        self.licenses: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._waiting: list[Group] = []
        self._n = 0

    def add(self, group: Group) -> None:
        mark = int.from_bytes(blake2b(group.id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        if mark in self._seen:
            self.repeated.add(group.id)
            self.later += 1
        self._seen.add(mark)
        self._waiting.append(group)
        if len(self._waiting) >= ROWS_PER_PART:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self.write(to_table(self._waiting))
            self._waiting = []

    def write(self, table: pa.Table) -> None:
        """The next part."""
        with replacing(self.folder.path / f"part-{self._n:05d}.parquet") as tmp:
            pq.write_table(table, tmp, compression="zstd")
        self._n += 1
        self.facts["groups"] += table.num_rows
        self.facts["candidates"] += _length(table["candidates"])
        self.facts["comparisons"] += _length(table["comparisons"])
        for split in table["split"].to_pylist():
            self.facts[f"groups_{split}"] += 1
        for source in table["source"].to_pylist():
            self.licenses[dict(source or {}).get("license") or UNKNOWN] += 1
        for judged in table["comparisons"].to_pylist():
            self.facts["contradictory_pairs"] += contradictory([Comparison(**c) for c in judged])


def _length(lists: pa.ChunkedArray) -> int:
    return pc.sum(pc.list_value_length(lists)).as_py() or 0  # type: ignore[attr-defined]


def _merge(folder: StageDir, first: _Parts, data: recipe.Data, notes: Counter[str], progress: Progress) -> _Parts:
    """The parts again, with the groups of equal prompts merged; all others are copied without a look inside."""
    aside = folder.path / f"rows{TMP_MARK}import"
    aside.mkdir()
    written = [Path(aside / part.name) for part in folder.parts]
    for part, moved in zip(folder.parts, written, strict=True):
        os.replace(part, moved)
    out = _Parts(folder)
    n_buckets = 1 + (len(first.repeated) + first.later) // ROWS_PER_BUCKET
    buckets = [aside / f"bucket-{i:05d}.parquet" for i in range(n_buckets)]
    for table in _joined(_unique(written, pa.array(sorted(first.repeated)), buckets)):
        out.write(table)
    with progress.task("merging equal prompts", total=n_buckets, unit="buckets") as step:
        for bucket in buckets:
            for group in _merged(bucket, notes):
                group.split = split_of(group, data.test_fraction, data.split_salt)
                out.add(group)
            step(1)
    out.flush()
    for path in [*written, *(b for b in buckets if b.exists())]:
        path.unlink()
    aside.rmdir()
    return out


def _unique(parts: list[Path], repeated: pa.Array, buckets: list[Path]) -> Iterator[pa.Table]:
    """The rows whose prompt occurs once; the others go into buckets by the hash of their id."""
    writers = [pq.ParquetWriter(path, GROUP_SCHEMA, compression="zstd") for path in buckets]
    try:
        for part in parts:
            table = pq.read_table(part)
            again = pc.is_in(table["id"], value_set=repeated)  # type: ignore[attr-defined]
            yield table.filter(pc.invert(again))  # type: ignore[attr-defined]
            rest = table.filter(again)
            places = [_bucket(name, len(buckets)) for name in rest["id"].to_pylist()]
            for i, writer in enumerate(writers):
                here = [k for k, place in enumerate(places) if place == i]
                if here:
                    writer.write_table(rest.take(here))
    finally:
        for writer in writers:
            writer.close()


def _bucket(name: str, n: int) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4, salt=b"bucket").digest()) % n


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables of about `ROWS_PER_PART` rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= ROWS_PER_PART:
            yield pa.concat_tables(waiting)
            waiting = []
    if sum(t.num_rows for t in waiting):
        yield pa.concat_tables(waiting)


def _merged(bucket: Path, notes: Counter[str]) -> Iterator[Group]:
    found: dict[str, tuple[Group, list[str]]] = {}
    for row in pq.read_table(bucket).to_pylist():
        group = group_from_row(row)
        if group.id in found:
            merge(found[group.id][0], group, notes)
            notes["rows_merged_into_a_known_prompt"] += 1
        else:
            found[group.id] = group, []
        found[group.id][1].append(group.source.get("row", ""))
    for group, keys in found.values():
        group.source["row"] = rows_text(keys)
        yield group
