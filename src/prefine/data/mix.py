"""One set of rows out of several: how many of each source, which ones, and what becomes of rows that several have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prefine.data.clean.base import Decided, Row, Verdict, order
from prefine.data.clean.exact import merged
from prefine.data.decisions import decisions_of
from prefine.data.repeats import repeated
from prefine.data.steps import Writer, clear, rows_in
from prefine.errors import PrefineError, nearest
from prefine.progress import Progress
from prefine.rundir import Counts, StageDir
from prefine.schema import Group

SHARES = ("fraction_of_source", "count", "weight_in_mix")
KEYS = ("path", "name", *SHARES, "cap")


@dataclass(frozen=True)
class Part:
    """What a mixture takes of one source: exactly one of the three shares, and at most `cap` training rows.

    fraction_of_source: of its training rows, above 1 to repeat them. count: training rows. weight_in_mix: relative to
    the other sources with weights.
    """

    name: str
    path: str
    fraction_of_source: float | None = None
    count: int | None = None
    weight_in_mix: float | None = None
    cap: int | None = None


def read_parts(blocks: list[dict[str, Any]]) -> list[Part]:
    """The parts as written, `{path: ..., count: 100}`, checked; names are the paths where none are given."""
    out = []
    for block in blocks:
        where = f"mix: {block.get('path', block)}"
        if not isinstance(block.get("path"), str):
            raise PrefineError(f"{where}: a source needs a path, as in {{path: rows.jsonl, count: 100}}")
        for key in block:
            if key not in KEYS:
                raise PrefineError(f"{where}: there is no key '{key}'{nearest(key, KEYS)}")
        given = [key for key in SHARES if block.get(key) is not None]
        if len(given) != 1:
            raise PrefineError(f"{where}: give exactly one of {', '.join(SHARES)}, not {' and '.join(given) or 'none'}")
        for key in (*SHARES, "cap"):
            value = block.get(key)
            whole = key in ("count", "cap")
            wrong = value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0)
            if wrong or (whole and value is not None and not isinstance(value, int)):
                kind = "a whole number above 0" if whole else "a number above 0"
                raise PrefineError(f"{where}: {key} must be {kind}, not {value!r}")
        out.append(Part(**{"name": block["path"], **block}))
    names = Counter(part.name for part in out)
    if (twice := [name for name, n in names.items() if n > 1]) or not out:
        raise PrefineError(f"mix: two sources are called '{twice[0]}'; give them names" if twice else "mix: no source")
    return out


def sizes(parts: list[Part], available: list[int], total: int | None) -> list[int]:
    """How many training rows to take of each source that has `available`; beyond that they are repeated.

    `total` is that of the mixture, of which sources with a weight share what the others leave; without it they are as
    large as they can be without a repetition. Shares are rounded so that they add up.
    """
    weighted = [i for i, p in enumerate(parts) if p.weight_in_mix is not None]
    if total is not None and not weighted:
        raise PrefineError("mix: a total is divided by weights, and no source has a weight_in_mix")
    for part, n in zip(parts, available, strict=True):
        if not n:
            raise PrefineError(f"mix: {part.name} has no training rows")
    out = [_fixed(p, n) for p, n in zip(parts, available, strict=True)]
    if weighted:
        weights = [parts[i].weight_in_mix or 0.0 for i in weighted]
        if total is None:
            rest = math.floor(
                min(available[i] / w for i, w in zip(weighted, weights, strict=True)) * sum(weights) + 1e-9
            )
        else:
            rest = total - sum(out)
        if rest < len(weighted):
            raise PrefineError(f"mix: of the total of {total} rows {rest} are left for the sources with weights")
        for i, n in zip(weighted, _shares(weights, rest), strict=True):
            out[i] = n
    return [n if p.cap is None else min(n, p.cap) for p, n in zip(parts, out, strict=True)]


def _fixed(part: Part, available: int) -> int:
    if part.count is not None:
        return part.count
    return math.floor((part.fraction_of_source or 0) * available + 1e-9)


def _shares(weights: list[float], total: int) -> list[int]:
    """Whole numbers in proportion to the weights that add up to `total`: by the largest remainder, then in order."""
    exact = [total * w / sum(weights) for w in weights]
    out = [math.floor(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (out[i] - exact[i], i))
    for i in by_remainder[: total - sum(out)]:
        out[i] += 1
    return out


@dataclass
class Plan:
    """For each source the copies to take of each row that is taken, and what a reader wants to know."""

    copies: list[dict[str, int]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)


def plan(parts: list[Part], folders: list[StageDir], total: int | None, seed: int) -> Plan:
    """Which rows are taken. Rows stand in the order of a hash, so that a larger share only adds rows.

    Held-out rows are taken once, in the same share as training rows.
    """
    ids = [_ids(folder) for folder in folders]
    wanted = sizes(parts, [len(train) for train, _ in ids], total)
    out = Plan()
    for part, (train, test), n in zip(parts, ids, wanted, strict=True):
        whole, rest = divmod(n, len(train))
        held_out = math.floor(min(1.0, n / len(train)) * len(test) + 1e-9)
        train.sort(key=lambda i: order(seed, "mix", i))
        test.sort(key=lambda i: order(seed, "mix", i))
        copies = {i: whole + (rank < rest) for rank, i in enumerate(train) if whole or rank < rest}
        out.copies.append({**copies, **dict.fromkeys(test[:held_out], 1)})
        about = {"name": part.name, "path": part.path, "rows": len(train), "taken": n}
        out.facts.append({**about, "epochs": round(n / len(train), 6), "held_out": held_out})
    return out


def _ids(folder: StageDir) -> tuple[list[str], list[str]]:
    """The distinct ids of training rows and of held-out rows."""
    found: dict[str, str] = {}
    for row in rows_in(folder):
        found.setdefault(row.id, row.split)
    return [i for i, s in found.items() if s != "test"], [i for i, s in found.items() if s == "test"]


def mix(
    parts: list[Part], folders: list[StageDir], total: int | None, seed: int, target: StageDir, progress: Progress
) -> tuple[Counts, dict[str, Any]]:
    """Write the mixture to `target`. Counts are of distinct rows; copies are counted as `repeats`.

    A prompt that several sources give is one group with the responses of all of them, as often as the source that
    repeats it most.
    """
    clear(target)
    planned = plan(parts, folders, total, seed)
    givers = Counter(i for copies in planned.copies for i in copies)
    most = Counter[str]()
    for copies in planned.copies:
        for i, n in copies.items():
            most[i] = max(most[i], n)
    counts, writer = Counts(), Writer(target, target)
    waiting: dict[str, list[Row]] = {}
    for part, folder, copies in zip(parts, folders, planned.copies, strict=True):
        seen: set[str] = set()
        with progress.task(f"mixing {part.name}", unit="rows") as step:
            for row in rows_in(folder):
                counts.rows_in += 1
                step(1)
                verdict, out = _decide(row, copies, seen, givers, waiting, part.name)
                for whole in out:
                    times = 1 if whole.split == "test" else most[whole.id]
                    written = [repeated(whole, k) for k in range(times)]
                    counts.rows_out += 1
                    counts.note("repeats", len(written) - 1)
                    writer.add(written, [])
                if not verdict.keep:
                    counts.drop(verdict.reason)
                writer.add([], decisions_of(row, "mix", Decided(verdict)))
    writer.close()
    return counts, {"sources": planned.facts}


def _decide(
    row: Row, copies: dict[str, int], seen: set[str], givers: Counter[str], waiting: dict[str, list[Row]], name: str
) -> tuple[Verdict, list[Row]]:
    """The fate of a source's row, and the row that goes on once all sources have given theirs."""
    evidence: dict[str, Any] = {"source": name}
    if row.id not in copies:
        return Verdict(False, "not_in_mix", evidence), []
    if row.id in seen:
        return Verdict(False, "duplicate_id", evidence), []
    seen.add(row.id)
    evidence["copies"] = copies[row.id]
    if givers[row.id] == 1:
        return Verdict(True, "selected", evidence), [row]
    others = waiting.setdefault(row.id, [])
    others.append(row)
    verdict = Verdict(True, "selected", evidence)
    if len(others) > 1:
        verdict = Verdict(False, "merged_with_another_source", {**evidence, "merged_into": row.id})
    return verdict, list(_whole(waiting.pop(row.id))) if len(others) == givers[row.id] else []


def _whole(rows: list[Row]) -> Iterator[Row]:
    groups = [row for row in rows if isinstance(row, Group)]
    yield merged(groups) if groups else rows[0]
