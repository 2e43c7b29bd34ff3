"""A request in the ledger as a row: its states, its columns, and texts as compressed bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

VERSION = 1
STATUSES = ("pending", "inflight", "ok", "failed_retryable", "failed_permanent", "parse_error")

TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, engine TEXT NOT NULL, identity TEXT NOT NULL, purpose TEXT NOT NULL, request BLOB NOT NULL,
    status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', raw BLOB, tries INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0, cost_usd REAL, seconds REAL NOT NULL DEFAULT 0,
    worker TEXT, created REAL NOT NULL, updated REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS workers (
    worker TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL
);
"""
RESULT = "status, error, raw, tries, prompt_tokens, cached_tokens, completion_tokens, cost_usd, seconds"
# What was billed is added up over all tries; a reply that is recorded stays.
RECORD = """
UPDATE requests SET status=:status, error=:error, raw=:raw, tries=tries+:tries, seconds=seconds+:seconds,
    prompt_tokens=prompt_tokens+:prompt_tokens, cached_tokens=cached_tokens+:cached_tokens,
    completion_tokens=completion_tokens+:completion_tokens, cost_usd=COALESCE(cost_usd+:cost_usd, :cost_usd, cost_usd),
    worker=NULL, updated=:now
WHERE key=:key AND status!='ok'
"""
STATS = """
SELECT identity, purpose, status, SUBSTR(error, 1, INSTR(error || ':', ':') - 1) AS reason, COUNT(*) AS requests,
    SUM(tries) AS tries, SUM(prompt_tokens) AS prompt_tokens, SUM(cached_tokens) AS cached_tokens,
    SUM(completion_tokens) AS completion_tokens, SUM(cost_usd) AS cost_usd, SUM(seconds) AS seconds
FROM requests GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""

_ZSTD = pa.Codec("zstd")


@dataclass
class Result:
    """What came of a request. `raw` is the reply's body as it came, before anything was made of it."""

    status: str
    error: str = ""
    raw: str = ""
    tries: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    """None where no price is known."""
    seconds: float = 0.0


@dataclass
class Row:
    """A request as the file has it, with its result."""

    key: str
    engine: str
    identity: dict[str, str]
    purpose: str
    request: dict[str, Any]
    result: Result


def pack(text: str) -> bytes:
    """Text as zstd, after its length in bytes as four bytes, the lowest first."""
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<I", len(data)) + _ZSTD.compress(data, asbytes=True)


def unpack(blob: bytes) -> str:
    """The inverse of `pack`."""
    (size,) = struct.unpack_from("<I", blob)
    return _ZSTD.decompress(blob[4:], decompressed_size=size, asbytes=True).decode("utf-8", "surrogatepass")


def columns(r: Result) -> dict[str, Any]:
    return {**vars(r), "raw": pack(r.raw) if r.raw else None}


def result_of(row: Any) -> Result:
    status, error, raw, *rest = row
    return Result(status, error, unpack(raw) if raw else "", *rest)
