"""Rows to groups: detect the format, convert, merge equal prompts, count every row that is dropped, split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefine import recipe
from prefine.conditions import asked, condition_text, goal_text
from prefine.data.build import Source, merge
from prefine.data.detect import LOOK_AT, Format, detect
from prefine.data.messages import Dropped, first_user
from prefine.data.read import Row, read_rows
from prefine.data.split import first_by_hash, split_of
from prefine.errors import PrefineError
from prefine.progress import Progress, Step
from prefine.rundir import Counts
from prefine.schema import Group

__all__ = ["Loaded", "contradictions", "load", "load_groups", "read_rows"]

SHOWN_ROWS = 20
"""Keys kept for each reason to drop a row, and for each group."""


@dataclass
class Loaded:
    """What came out of a source."""

    groups: list[Group]
    counts: Counts
    format: str
    dropped_rows: dict[str, list[str]] = field(default_factory=dict)
    """Reason to the keys of the first rows that were dropped for it."""


def load_groups(data: recipe.Data) -> tuple[list[Group], Counts]:
    """The groups of `data` with their splits, and the row balance; see `load`."""
    loaded = load(data)
    return loaded.groups, loaded.counts


def load(data: recipe.Data, *, strict: bool = True, progress: Progress | None = None) -> Loaded:
    """Read, convert, merge, limit and split the rows of `data`.

    `counts` are rows: those that are in a group, and those that were dropped, by reason. With `strict`, a share of
    dropped rows above `data.max_drop_fraction` raises `PrefineError`, as does a source without a usable row. What
    `data.condition` and `data.goal` ask for is put into the prompts last, and changes neither ids nor splits.
    """
    where = data.path if isinstance(data.path, str) else ", ".join(data.path)
    text = _condition_text(data)
    source, counts = Source(_name(data), data.plain_text), Counts()
    rows = read_rows(data, counts)
    head = list(itertools.islice(rows, LOOK_AT))
    if not head:
        raise PrefineError(f"{where}: there are no rows in it")
    name, form = _format_of(head, where, data.format)
    loaded = Loaded([], counts, name)
    with (progress or Progress.silent()).task("reading", unit="rows") as step:
        found = _convert(itertools.chain(head, rows), form, source, loaded, step)
    if strict:
        _check_drops(loaded, where, data.max_drop_fraction)
    for group, _ in found:
        group.split = split_of(group, data.test_fraction, data.split_salt)
    loaded.groups = [group for group, _ in found]
    if data.limit is not None and data.limit < len(found):
        loaded.groups = first_by_hash(loaded.groups, data.limit, data.split_salt)
        kept = {g.id for g in loaded.groups}
        counts.drop("beyond_limit", sum(len(keys) for group, keys in found if group.id not in kept))
    if text or data.goal is not None:
        loaded.groups = [_asked(group, data) for group in loaded.groups]
    counts.rows_out = counts.rows_in - sum(counts.dropped.values())
    _describe(loaded, source.notes)
    return loaded


def _format_of(head: list[tuple[str, Row]], where: str, wanted: str | None) -> tuple[str, Format | None]:
    dicts = [row for _, row in head if isinstance(row, dict)]
    if not dicts:
        return "canonical", None
    return detect(dicts, where, wanted)


def _convert(
    rows: Iterator[tuple[str, Row]], form: Format | None, source: Source, loaded: Loaded, step: Step
) -> list[tuple[Group, list[str]]]:
    """The distinct groups, in the order of their first rows, each with the keys of its rows."""
    found: dict[str, tuple[Group, list[str]]] = {}
    for key, row in rows:
        loaded.counts.rows_in += 1
        step(1)
        before = Counter(source.notes)
        try:
            group = _group(key, row, form, source)
        except Dropped as dropped:
            source.notes = before
            loaded.counts.drop(dropped.reason)
            keys = loaded.dropped_rows.setdefault(dropped.reason, [])
            if len(keys) < SHOWN_ROWS:
                keys.append(f"{key}: {dropped.detail}" if dropped.detail else key)
            continue
        if group.id in found:
            merge(found[group.id][0], group, source.notes)
            source.notes["rows_merged_into_a_known_prompt"] += 1
        else:
            found[group.id] = group, []
        found[group.id][1].append(key)
    for group, keys in found.values():
        more = f" and {len(keys) - SHOWN_ROWS} more" if len(keys) > SHOWN_ROWS else ""
        group.source.setdefault("row", ", ".join(keys[:SHOWN_ROWS]) + more)
    return list(found.values())


def _group(key: str, row: Row, form: Format | None, source: Source) -> Group:
    if isinstance(row, Group):
        if not row.messages:
            raise Dropped("empty_prompt")
        return row
    if form is None:
        raise PrefineError(f"{key}: a dictionary among Group objects; yield one kind")
    return form(row, source)


def _check_drops(loaded: Loaded, where: str, most: float) -> None:
    counts = loaded.counts
    dropped = sum(counts.dropped.values())
    if dropped < counts.rows_in and dropped <= most * counts.rows_in:
        return
    reasons = "; ".join(
        f"{n} x {reason} ({loaded.dropped_rows.get(reason, ['?'])[0]})"
        for reason, n in sorted(counts.dropped.items(), key=lambda item: -item[1])
    )
    raise PrefineError(
        f"{where}: {dropped} of {counts.rows_in} rows cannot be used as '{loaded.format}' (data.max_drop_fraction is "
        f"{most:g}): {reasons}. `prefine data check` shows more; data.format names another format"
    )


def _condition_text(data: recipe.Data) -> str:
    """The text of `data.condition`, checked before anything is read."""
    try:
        if data.goal is not None:
            goal_text(data.goal)
        return condition_text(data.condition or {})
    except ValueError as error:
        raise PrefineError(f"data.condition and data.goal: {error}") from error


def _asked(group: Group, data: recipe.Data) -> Group:
    """The group with what the data section asks for. Read again as data, it falls into the split it had without."""
    key = group.task_meta.get("split_key") or first_user(group.messages)
    return asked(replace(group, task_meta={**group.task_meta, "split_key": key}), data.condition, data.goal)


def _describe(loaded: Loaded, notes: Counter[str]) -> None:
    extra: dict[str, Any] = {
        "groups": len(loaded.groups),
        "groups_train": sum(g.split == "train" for g in loaded.groups),
        "groups_test": sum(g.split == "test" for g in loaded.groups),
        "candidates": sum(len(g.candidates) for g in loaded.groups),
        "comparisons": sum(len(g.comparisons) for g in loaded.groups),
        "contradictory_pairs": sum(map(contradictions, loaded.groups)),
        **{k: n for k, n in notes.items() if n},
    }
    for key, n in extra.items():
        loaded.counts.note(key, n)


def contradictions(group: Group) -> int:
    """Pairs of responses of which each was preferred to the other at least once."""
    won = {(c.a, c.b) if c.outcome == "a" else (c.b, c.a) for c in group.comparisons if c.outcome in ("a", "b")}
    return sum((b, a) in won for a, b in won) // 2


def _name(data: recipe.Data) -> str:
    paths = [data.path] if isinstance(data.path, str) else data.path
    return ", ".join(p if ":" in p else Path(p).name for p in paths)
