"""Every request to a model and what came of it, in one SQLite file: sent at least once, recorded exactly once.

A request is `pending`, `inflight` (a living process has taken it), or has a result: `ok`, `failed_retryable`,
`failed_permanent` or `parse_error`. A result that is `ok` never changes. Several processes may use one file; a process
that died lets go of what it had taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from prefine.errors import PrefineError, nearest
from prefine.ledger_rows import (
    RECORD,
    RESULT,
    STATS,
    STATUSES,
    TABLES,
    VERSION,
    Result,
    Row,
    columns,
    pack,
    result_of,
    unpack,
)

__all__ = ["STATUSES", "Ledger", "Result", "Row"]

BATCH = 64
"""Results between two commits, unless a second passes before."""
WAIT = 1.0
"""Longest time, in seconds, that a result waits for its commit."""
LEASE = 60.0
"""Seconds after which a process that gave no sign of life counts as dead; on the same machine it is seen at once."""


class Ledger:
    """The file. A context manager: `close` lets go of requests that were taken and not answered.

    Threads may share it.
    """

    def __init__(self, path: Path, *, clock: Any = time.time) -> None:
        self.path, self._clock = Path(path), clock
        self.worker = uuid.uuid4().hex[:16]
        self._lock, self._queue = threading.RLock(), threading.Lock()
        self._waiting: list[tuple[str, Result]] = []
        self._since = 0.0
        self._held = False
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        self._taken = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise PrefineError(f"{self.path} is not a ledger: {error}") from error
        except PrefineError:
            self._db.close()
            raise

    def _open(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise PrefineError(
                f"{self.path} was written by a newer prefine (format {version}, this one knows {VERSION})"
            )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if version == 0:
            with self._transaction():
                for statement in TABLES.split(";\n"):
                    if statement.strip():
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what waits, let go of what was taken, and close the file."""
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None
        with contextlib.suppress(sqlite3.ProgrammingError):
            self.release()
            self._db.close()

    def look(self, keys: Iterable[str]) -> dict[str, Result]:
        """The state of those of `keys` that the file has, with what waits for its commit."""
        self.flush()
        wanted, found = list(keys), {}
        with self._lock:
            for part in _cut(wanted):
                marks = ",".join("?" * len(part))
                rows = self._db.execute(f"SELECT key, {RESULT} FROM requests WHERE key IN ({marks})", part)
                found.update({row[0]: result_of(row[1:]) for row in rows})
        return found

    def take(self, requests: Mapping[str, dict[str, Any]], engine: str, identity: dict[str, str]) -> set[str]:
        """Mark those of `requests` (by key) that nobody has answered or is about to answer as taken by this process.

        Returns the keys taken. A failure that may go away is taken again, one that will not is not.
        """
        self._beat()
        mine: set[str] = set()
        now, who = self._clock(), json.dumps(identity, sort_keys=True)
        for part in _cut(list(requests)):
            with self._transaction():
                alive = self._alive()
                marks = ",".join("?" * len(part))
                rows = self._db.execute(f"SELECT key, status, worker FROM requests WHERE key IN ({marks})", part)
                known = {key: (status, worker) for key, status, worker in rows}
                fresh = [key for key in part if key not in known]
                again = [k for k, (s, w) in known.items() if _free(s, w, alive - {self.worker})]
                self._db.executemany(
                    "INSERT INTO requests (key, engine, identity, purpose, request, status, worker, created, updated)"
                    " VALUES (?, ?, ?, ?, ?, 'inflight', ?, ?, ?)",
                    [
                        (k, engine, who, str(r.get("purpose", "")), pack(json.dumps(r)), self.worker, now, now)
                        for k, r in ((k, requests[k]) for k in fresh)
                    ],
                )
                self._db.executemany(
                    "UPDATE requests SET status='inflight', worker=?, updated=? WHERE key=?",
                    [(self.worker, now, k) for k in again],
                )
            mine.update(fresh, again)
        return mine

    def record(self, key: str, result: Result) -> None:
        """Keep a result; it is on the disk after `BATCH` results, a second, or `flush`, whichever comes first."""
        with self._queue:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append((key, result))
            full = len(self._waiting) >= BATCH and not self._held
        if full:
            self.flush()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is recorded within goes to the disk in one transaction at its end, or not at all."""
        self.flush()
        self._held = True
        try:
            yield
        except BaseException:
            with self._queue:
                self._waiting = []
            raise
        finally:
            self._held = False
        self.flush()

    def flush(self) -> None:
        """Commit what waits; when this returns, everything recorded before is on the disk."""
        with self._lock:
            with self._queue:
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            now = self._clock()
            try:
                with self._transaction():
                    self._db.executemany(RECORD, [{**columns(r), "now": now, "key": key} for key, r in taken])
            except BaseException:
                with self._queue:
                    self._waiting = taken + self._waiting
                raise

    def release(self) -> None:
        """Commit what waits, and make what this process has taken and not answered pending again."""
        self.flush()
        if self._taken:
            with self._transaction():
                self._db.execute(
                    "UPDATE requests SET status='pending', worker=NULL WHERE worker=? AND status='inflight'",
                    (self.worker,),
                )
                self._db.execute("DELETE FROM workers WHERE worker=?", (self.worker,))
            self._taken = False

    def mark(self, errors: Mapping[str, str], status: str) -> None:
        """Change the status of answered requests (key: why), as when a reply makes no sense; the reply stays."""
        if status not in STATUSES:
            raise ValueError(f"unknown status '{status}'{nearest(status, STATUSES)}")
        self.flush()
        with self._transaction():
            self._db.executemany(
                "UPDATE requests SET status=?, error=?, updated=? WHERE key=? AND raw IS NOT NULL",
                [(status, error, self._clock(), key) for key, error in errors.items()],
            )

    def rows(self, *statuses: str) -> Iterator[Row]:
        """Every request with one of these statuses (all without any), with its result, in the order of keys."""
        self.flush()
        chosen = statuses or STATUSES
        last = ""
        while True:
            marks = ",".join("?" * len(chosen))
            with self._lock:
                found = self._db.execute(
                    f"SELECT key, engine, identity, purpose, request, {RESULT} FROM requests"
                    f" WHERE key > ? AND status IN ({marks}) ORDER BY key LIMIT 500",
                    (last, *chosen),
                ).fetchall()
            for key, engine, identity, purpose, request, *rest in found:
                yield Row(key, engine, json.loads(identity), purpose, json.loads(unpack(request)), result_of(rest))
            if not found:
                return
            last = found[-1][0]

    def spent(self, identity: dict[str, str]) -> tuple[int, int, int]:
        """Tokens of all calls to this model: of prompts, those of them that were cached, of replies."""
        self.flush()
        sums = ", ".join(f"COALESCE(SUM({name}_tokens), 0)" for name in ("prompt", "cached", "completion"))
        with self._lock:
            who = json.dumps(identity, sort_keys=True)
            return self._db.execute(f"SELECT {sums} FROM requests WHERE identity=?", (who,)).fetchone()

    def mean_completion(self, identity: dict[str, str], purpose: str, at_least: int = 20) -> float | None:
        """Mean tokens of this model's replies for `purpose`; None before there are `at_least` of them."""
        self.flush()
        with self._lock:
            mean, n = self._db.execute(
                "SELECT AVG(completion_tokens), COUNT(*) FROM requests WHERE identity=? AND purpose=?"
                " AND completion_tokens > 0",
                (json.dumps(identity, sort_keys=True), purpose),
            ).fetchone()
        return mean if n >= at_least else None

    def stats(self) -> list[dict[str, Any]]:
        """Requests, tokens, dollars and tries by model, purpose, status and reason of failure."""
        self.flush()
        with self._lock:
            cursor = self._db.execute(STATS)
            names = [column[0] for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor]
        return [{**row, "identity": json.loads(row["identity"])} for row in found]

    def retry(self, *statuses: str) -> int:
        """Make requests with these statuses pending, for the next run to ask; returns their number."""
        marks = ",".join("?" * len(statuses))
        self.flush()
        with self._transaction():
            done = self._db.execute(
                f"UPDATE requests SET status='pending', error='' WHERE status IN ({marks})", statuses
            )
            return done.rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _alive(self) -> set[str]:
        """The processes that may still answer what they have taken."""
        rows = self._db.execute("SELECT worker, host, pid FROM workers WHERE until > ?", (self._clock(),)).fetchall()
        return {worker for worker, host, pid in rows if host != socket.gethostname() or _runs(pid)}

    def _beat(self) -> None:
        """Say that this process lives, now and as long as the ledger is open."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?)",
                (self.worker, socket.gethostname(), os.getpid(), self._clock() + LEASE),
            )
        self._taken = True
        if self._heart is None:
            self._heart = threading.Thread(target=self._live, name="ledger", daemon=True)
            self._heart.start()

    def _live(self) -> None:
        """Commit results that have waited long enough, and renew the lease."""
        renewed = time.monotonic()
        while not self._stop.wait(WAIT / 4):
            # What cannot be written now stays and is written later, by whoever comes first.
            with contextlib.suppress(sqlite3.Error):
                if self._waiting and not self._held and time.monotonic() - self._since >= WAIT:
                    self.flush()
                if time.monotonic() - renewed >= LEASE / 4 and self._taken:
                    renewed = time.monotonic()
                    with self._transaction():
                        self._db.execute(
                            "UPDATE workers SET until=? WHERE worker=?", (self._clock() + LEASE, self.worker)
                        )


def _free(status: str, worker: str | None, alive: set[str]) -> bool:
    return status in ("pending", "failed_retryable") or (status == "inflight" and worker not in alive)


def _runs(pid: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _cut(keys: list[str], size: int = 500) -> Iterator[list[str]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))
