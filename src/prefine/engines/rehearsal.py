"""Going through what would be asked without asking: nothing is called, nothing is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path

from prefine.engines.base import Engine, Reply, Request
from prefine.engines.cost import Estimate
from prefine.engines.session import ANSWERED, Session
from prefine.ledger import Ledger
from prefine.progress import Step

UNASKED = Reply(status="failed_retryable", error="rehearsal: nothing is asked")

_found: ContextVar[list[Estimate] | None] = ContextVar("rehearsal", default=None)


@contextmanager
def rehearsal() -> Iterator[list[Estimate]]:
    """Within it sessions ask nothing; the list is filled with an estimate for each time they would have."""
    found: list[Estimate] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


def rehearsing() -> bool:
    """Whether a rehearsal goes on."""
    return _found.get() is not None


class Rehearsal(Session):
    """Gives the replies that the ledger has, and a failure for every other request."""

    def __init__(self, engine: Engine, ledger: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(engine, Ledger(ledger if ledger.exists() else Path(self._folder.name) / "ledger.sqlite"))
        self._counted: set[str] = set()

    def ask(self, requests: Sequence[Request], step: Step | None = None) -> list[Reply]:
        keys = [r.key(self.identity) for r in requests]
        new = {k: r for k, r in zip(keys, requests, strict=True) if k not in self._counted}
        self._counted |= set(new)
        found, known = _found.get(), self.ledger.look(keys)
        if found is not None and new:
            found.append(self.estimate(list(new.values())))
        return [
            self._read(r, k, known[k]) if k in known and known[k].status in ANSWERED else UNASKED
            for k, r in zip(keys, requests, strict=True)
        ]

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


def total(estimates: Sequence[Estimate]) -> Estimate:
    """The sum of several estimates; its cost is None where one has no price."""
    sums = {}
    for field in fields(Estimate):
        values = [getattr(e, field.name) for e in estimates]
        priced = all(v is not None for v in values)
        sums[field.name] = any(values) if field.name == "approximate" else sum(values) if priced else None
    return Estimate(**sums)
