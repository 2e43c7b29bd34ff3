"""Requests of a stage that got no answer, in a file of its folder: so a later run knows what it may ask again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from prefine.durable import write_json
from prefine.ledger import Ledger

FILE = "unanswered.json"


class _Notes:
    """What is known so far. A request that failed in this process stays: the rows that lack its reply are made."""

    def __init__(self, folder: Path) -> None:
        self.file, self.known = folder / FILE, unanswered(folder)
        self._here: set[str] = set()

    def note(self, statuses: Mapping[str, str]) -> None:
        before = dict(self.known)
        for key, status in statuses.items():
            if status != "ok":
                self.known[key] = status
                self._here.add(key)
            elif key not in self._here:
                self.known.pop(key, None)
        if self.known != before:
            write_json(self.file, dict(sorted(self.known.items())))


_watched: ContextVar[_Notes | None] = ContextVar("unanswered", default=None)


@contextmanager
def watching(folder: Path) -> Iterator[None]:
    """Within it, what sessions could not get answered is noted in `folder`, before they return."""
    token = _watched.set(_Notes(folder))
    try:
        yield
    finally:
        _watched.reset(token)


def note(statuses: Mapping[str, str]) -> None:
    """Tell how requests ended (key: `ok` or why not), where a stage is watched."""
    notes = _watched.get()
    if notes is not None:
        notes.note(statuses)


def unanswered(folder: Path) -> dict[str, str]:
    """The keys of a stage's requests without an answer, with the status that each had then."""
    file = folder / FILE
    return json.loads(file.read_text()) if file.exists() else {}


def to_ask_again(folder: Path, ledger: Path, *, only_wished: bool = False) -> list[str]:
    """Those of a stage's unanswered requests that may be answered now, by what the ledger says of them today.

    A failure that may go away can be, one that `ledger retry-failed` has released, and one whose answer came later,
    for another stage. With `only_wished` only those that were released.
    """
    then = unanswered(folder)
    if not then or not ledger.exists():
        return []
    with Ledger(ledger) as file:
        now = file.look(then)
    hopeful = ("pending",) if only_wished else ("pending", "inflight", "failed_retryable")

    def may(key: str) -> bool:
        status = now[key].status if key in now else "pending"
        return status in hopeful or (status == "ok" and then[key] != "parse_error" and not only_wished)

    return [key for key in then if may(key)]
