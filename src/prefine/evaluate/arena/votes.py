"""The votes of one person: a file of JSON lines, appended one by one, each line a prompt with one comparison.

A line has the shape of a stored group (`messages`, `candidates`, `comparisons`), so `prefine data import` and the data
section of a recipe read it. Under `vote` it has what a comparison has no place for: when, how long, which side, who.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prefine.durable import replacing, sync
from prefine.errors import DirectoryInUse, PrefineError
from prefine.evaluate.arena.duels import Duel, duel_id, text_hash

CHOICES = ("left", "right", "tie", "skip")
FOLDER = "arena"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Vote:
    """One vote as it is counted. `outcome` is that of the comparison: a, b, tie, or invalid for a skip.

    `responses` are the hashes of the texts `a` and `b`, `left` is the side-by-side position of one of them.
    """

    duel: str
    prompt: str
    responses: tuple[str, str]
    outcome: str
    left: str
    voter: str
    seconds: float | None

    def value(self, first: str) -> float | None:
        """1 where the text with the hash `first` won, 0 where it lost, 0.5 for a tie; None for a skip."""
        won = {"a": self.responses[0], "b": self.responses[1]}.get(self.outcome)
        if won is None:
            return 0.5 if self.outcome == "tie" else None
        return float(won == first)


def judge_of(voter: str) -> str:
    """The name that a voter has as a judge of comparisons."""
    return f"human:{voter}"


def votes_file(run: Path, voter: str) -> Path:
    """Where a voter's votes are kept by default: beside the results of the run that was named first."""
    if not _NAME.fullmatch(voter):
        raise PrefineError(f"--voter: '{voter}' must be letters, digits, dots, dashes or underscores, 64 at most")
    return run / FOLDER / f"votes-{voter}.jsonl"


def votes_files(runs: Iterable[Path]) -> list[Path]:
    """All votes that are kept beside these runs, each file once."""
    folders = {run.resolve(): run / FOLDER for run in runs}
    return [file for folder in folders.values() for file in sorted(folder.glob("votes-*.jsonl"))]


def row_of(duel: Duel, choice: str, voter: str, seconds: float | None, **facts: Any) -> dict[str, Any]:
    """The line that is stored for a vote."""
    left_won = {"left": "a", "right": "b"} if duel.left == "a" else {"left": "b", "right": "a"}
    outcome = {"tie": "tie", "skip": "invalid"}.get(choice) or left_won[choice]
    share = {"a": 1.0, "b": 0.0, "tie": 0.5}.get(outcome)
    orders = [share, None] if duel.left == "a" else [None, share]
    hashes = [text_hash(c.text) for c in (duel.a, duel.b)]
    keep = ("id", "completion", "generator", "finish_reason", "n_tokens")
    return {
        "messages": duel.group.messages,
        "candidates": [{k: v for k, v in vars(c).items() if k in keep and v is not None} for c in (duel.a, duel.b)],
        "comparisons": [
            {"a": duel.a.id, "b": duel.b.id, "outcome": outcome, "judge": judge_of(voter), "orders": orders}
        ],
        "task": duel.group.task,
        "task_meta": duel.group.task_meta,
        "source": {"arena": "votes of people"},
        "vote": {
            "prompt": duel.group.id,
            "responses": hashes,
            "choice": choice,
            "left": duel.left,
            "voter": voter,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": None if seconds is None else round(seconds, 2),
            **facts,
        },
    }


def _parsed(row: Any) -> Vote:
    vote, (said,) = row["vote"], row["comparisons"]
    first, second = vote["responses"]
    if said["outcome"] not in ("a", "b", "tie", "invalid") or vote["left"] not in ("a", "b"):
        raise ValueError("no such outcome or side")
    key = duel_id(vote["prompt"], first, second)
    return Vote(key, vote["prompt"], (first, second), said["outcome"], vote["left"], vote["voter"], vote.get("seconds"))


def read_lines(path: Path) -> tuple[list[tuple[str, Vote]], bool]:
    """The lines of a votes file with what they say, and whether its last line was torn by a crash (it is left out)."""
    if not path.exists():
        return [], False
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            if line:
                found.append((line, _parsed(json.loads(line))))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                return found, True
            raise PrefineError(f"{path}:{number}: this is no vote of an arena ({error!r})") from error
    return found, False


def read_votes(paths: Iterable[Path]) -> list[Vote]:
    """All votes of several files; of several by one voter on the same texts the last one counts."""
    found: dict[tuple[str, str], Vote] = {}
    for path in paths:
        for _, vote in read_lines(path)[0]:
            found[vote.voter, vote.duel] = vote
    return list(found.values())


class Ballot:
    """A voter's file, held by one process at a time. Use as a context manager.

    A vote is on the disk when `cast` returns. `torn` tells that a crash had left half a line, which was removed.
    """

    def __init__(self, path: Path, voter: str) -> None:
        self.path, self.voter, self.torn = path, voter, False
        self._lines: list[tuple[str, Vote]] = []
        self._lock: Any = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.path.with_name(f".{self.path.name}.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise DirectoryInUse(
                f"{self.path} is in use by another arena; stop that, or vote as another --voter"
            ) from error
        try:
            self._lines, self.torn = read_lines(self.path)
            if self.torn or (self._lines and not self.path.read_bytes().endswith(b"\n")):
                self._rewrite()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def votes(self) -> list[Vote]:
        """What is in the file, in its order."""
        return [vote for _, vote in self._lines]

    def cast(self, row: dict[str, Any]) -> Vote:
        """Append a vote, durably."""
        line = json.dumps(row, ensure_ascii=True, separators=(",", ":"))
        vote = _parsed(json.loads(line))
        size = self.path.stat().st_size if self.path.exists() else None
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # Half a line must not become the beginning of the next one.
            os.truncate(self.path, size or 0)
            raise
        if size is None:
            sync(self.path.parent)
        self._lines.append((line, vote))
        return vote

    def take_back(self, duels: Sequence[str]) -> list[str]:
        """Remove the votes on these duels from the file; returns those that there were, the last one first."""
        gone = {d for d in duels}
        found = [vote.duel for _, vote in self._lines if vote.duel in gone]
        if found:
            self._lines = [(line, vote) for line, vote in self._lines if vote.duel not in gone]
            self._rewrite()
        return found[::-1]

    def _rewrite(self) -> None:
        with replacing(self.path) as tmp:
            tmp.write_text("".join(line + "\n" for line, _ in self._lines), encoding="utf-8", errors="surrogateescape")
