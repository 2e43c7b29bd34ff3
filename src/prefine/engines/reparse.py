"""Stored replies read anew by the engine that got them, without a call."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefine.engines.base import Engine, Request, Sampling
from prefine.engines.session import UNREADABLE
from prefine.ledger import Ledger, Row
from prefine.registry import engines


def reparse(ledger: Ledger) -> dict[str, Any]:
    """Read every stored reply again and correct its status; returns counts: read, and changes as `old -> new`.

    A reply that its component could not make sense of becomes `ok` again where the engine can read it: the component
    reads it in the next run, with a parser that may be a newer one.
    """
    read, changed = 0, Counter()
    for row in ledger.rows("ok", "parse_error", "failed_permanent"):
        if not row.result.raw:
            continue
        read += 1
        status, error = _status(row)
        if (status, error) != (row.result.status, row.result.error):
            ledger.mark({row.key: error}, status)
            changed[f"{row.result.status} -> {status}"] += 1
    return {"read": read, "changed": dict(sorted(changed.items()))}


def request_of(row: Row) -> Request:
    """The request as it was sent."""
    stored = dict(row.request)
    sampling = dict(stored.pop("sampling"))
    sampling["stop"] = tuple(sampling["stop"])
    return Request(tuple(stored.pop("messages")), Sampling(**sampling), **stored)


def _status(row: Row) -> tuple[str, str]:
    try:
        reply = _reader(row.engine).read(request_of(row), row.result.raw)
    except UNREADABLE as error:
        if row.result.status == "failed_permanent":
            return row.result.status, row.result.error
        return "parse_error", f"unreadable_reply: {type(error).__name__} {error}"
    return reply.status, reply.error


_readers: dict[str, Engine] = {}


def _reader(name: str) -> Engine:
    """An engine that can only read: that is pure, so no settings are needed."""
    if name not in _readers:
        cls = engines.find(name).load()
        _readers[name] = object.__new__(cls)
    return _readers[name]
