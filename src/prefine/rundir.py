"""A run's directory: one folder per stage and settings, Parquet parts, manifests whose counts balance, one writer.

runs/<name>/
  recipe.yaml                       the resolved settings of the last command
  <stage>/<label>-<key>/            one result; the key is a digest of settings and inputs
    part-00000.parquet ...          rows, or for training model/, metrics.jsonl, samples.jsonl and kl.jsonl
    manifest.json                   settings, inputs, counts (in = out + dropped), versions, sha256 of each part
    _SUCCESS                        written last
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from prefine.durable import replacing, sha256_file, sweep, write_json
from prefine.errors import DirectoryInUse, PrefineError
from prefine.schema import (
    GROUP_SCHEMA,
    PAIR_SCHEMA,
    Example,
    Group,
    digest,
    example_from_row,
    example_to_row,
    group_from_row,
    group_to_row,
)
from prefine.unanswered import FILE as UNANSWERED
from prefine.unanswered import watching

PACKAGES = ("prefine", "torch", "transformers", "tokenizers", "accelerate", "peft", "datasets", "pyarrow", "numpy")


ASIDE = (".lock", "manifest.json", "_SUCCESS", "checkpoints", "trackers", "wandb", UNANSWERED)
READ_AT_ONCE = 512
"""Rows that are objects at the same time when a part is read."""


class Counts:
    """The row balance of a stage: rows in = rows out + rows dropped, by reason. `extra` holds other counts."""

    def __init__(self, rows_in: int = 0) -> None:
        self.rows_in = rows_in
        self.rows_out = 0
        self.dropped: dict[str, int] = {}
        self.extra: dict[str, float] = {}

    def drop(self, reason: str, n: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + n

    def note(self, name: str, n: float = 1) -> None:
        self.extra[name] = self.extra.get(name, 0) + n

    def as_dict(self) -> dict[str, Any]:
        """The counts for a manifest; raises when they do not balance, since then rows were lost."""
        if self.rows_in != self.rows_out + sum(self.dropped.values()):
            raise PrefineError(
                f"row counts do not balance: {self.rows_in} in, {self.rows_out} out, dropped {self.dropped}"
            )
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "dropped": dict(sorted(self.dropped.items())),
            "extra": dict(sorted(self.extra.items())),
        }


class StageDir:
    """The folder of one stage's result."""

    def __init__(self, path: Path, stage: str, key: str, run: Path) -> None:
        self.path, self.stage, self.key, self.run = path, stage, key, run

    @property
    def done(self) -> bool:
        return (self.path / "_SUCCESS").exists()

    @property
    def parts(self) -> list[Path]:
        return sorted(self.path.glob("part-*.parquet"))

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.path / "manifest.json").read_text())

    def start(self) -> None:
        """Make the folder ready for its one writer; finished parts of an interrupted run stay."""
        self.path.mkdir(parents=True, exist_ok=True)
        sweep(self.path)

    def write_part(self, rows: list[Group] | list[Example]) -> None:
        """Append one part, durably; after this call the rows survive any crash."""
        table = to_table(rows)
        with replacing(self.path / f"part-{len(self.parts):05d}.parquet") as tmp:
            pq.write_table(table, tmp, compression="zstd")

    def groups(self) -> Iterator[Group]:
        """The groups of all parts, in the order they were written."""
        for row in self._rows():
            yield group_from_row(row)

    def examples(self) -> Iterator[Example]:
        """The training examples of all parts."""
        for row in self._rows():
            yield example_from_row(row)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for part in self.parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=READ_AT_ONCE):
                    yield from batch.to_pylist()

    def _aside(self, path: Path) -> bool:
        """Files that are no part of the result: the manifest itself, checkpoints, what trackers keep."""
        return path.relative_to(self.path).parts[0] in ASIDE

    def finish(
        self, settings: dict[str, Any], counts: Counts | None, inputs: dict[str, str], seconds: float, **facts: Any
    ) -> None:
        """Write the manifest and then the mark that the stage is complete."""
        files = [p for p in sorted(self.path.rglob("*")) if p.is_file() and not self._aside(p)]
        write_json(
            self.path / "manifest.json",
            {
                "schema_version": 1,
                "stage": self.stage,
                "key": self.key,
                "settings": settings,
                "inputs": inputs,
                "counts": counts.as_dict() if counts else None,
                "seconds": round(seconds, 3),
                "versions": versions(),
                "files": {str(p.relative_to(self.path)): sha256_file(p) for p in files},
                **facts,
            },
        )
        with replacing(self.path / "_SUCCESS") as tmp:
            tmp.write_text(self.key + "\n")


class RunDir:
    """`output_dir/name`, held by one process at a time. Use as a context manager to hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None

    def stage(self, stage: str, label: str, key: str) -> StageDir:
        """The folder for the result of `stage` whose settings and inputs hash to `key`."""
        return StageDir(self.path / stage / f"{label}-{key[:10]}", stage, key, self.path)

    def results(self, stage: str) -> list[StageDir]:
        """All finished results of a stage, oldest first."""
        found = [p for p in (self.path / stage).glob("*-*") if (p / "_SUCCESS").exists()]
        found.sort(key=lambda p: (json.loads((p / "manifest.json").read_text()).get("created", ""), p.name))
        return [StageDir(p, stage, (p / "_SUCCESS").read_text().strip(), self.path) for p in found]

    def __enter__(self) -> Self:
        """Take the lock; a second writer gets `DirectoryInUse` with the holder's details."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise DirectoryInUse(
                f"{self.path} is in use by {holder}; wait for it, or give this run another name (name=...)"
            ) from error
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        lock.flush()
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def to_table(rows: list[Group] | list[Example]) -> pa.Table:
    """Groups or examples as an Arrow table of the project's schema."""
    if rows and isinstance(rows[0], Example):
        return pa.Table.from_pylist([example_to_row(r) for r in rows], PAIR_SCHEMA)  # type: ignore[arg-type]
    return pa.Table.from_pylist([group_to_row(r) for r in rows], GROUP_SCHEMA)  # type: ignore[arg-type]


def stage_key(stage: str, settings: dict[str, Any], inputs: dict[str, str]) -> str:
    """The identity of a stage's result: what it does and what it reads. Paths and worker counts are not in it."""
    return digest({"stage": stage, "settings": settings, "inputs": inputs})


def run_stage(
    folder: StageDir,
    settings: dict[str, Any],
    inputs: dict[str, str],
    work: Callable[[StageDir], tuple[Counts | None, dict[str, Any]]],
) -> bool:
    """Do `work` unless it is already done; True when something ran. `work` returns its counts and facts."""
    if folder.done:
        return False
    folder.start()
    started = time.monotonic()
    with watching(folder.path):
        counts, facts = work(folder)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    folder.finish(settings, counts, inputs, time.monotonic() - started, created=created, **facts)
    return True


def versions() -> dict[str, str]:
    """Versions of Python, the platform, the packages that decide results, and the git commit where there is one."""
    out = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = "absent"
    out["commit"] = _commit()
    return out


def _commit() -> str:
    """The commit of the source tree this package runs from; empty for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
