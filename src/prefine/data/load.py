"""Rows to groups: detect the format, convert, merge equal prompts, count every row that is dropped, split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from prefine import recipe
from prefine.conditions import asked, condition_text, goal_text
from prefine.data.build import merge
from prefine.data.convert import Conversion, rows_text
from prefine.data.messages import first_user
from prefine.data.read import read_rows
from prefine.data.split import first_by_hash, split_of
from prefine.errors import PrefineError
from prefine.progress import Progress, Step
from prefine.rundir import Counts
from prefine.schema import Comparison, Group

__all__ = ["Loaded", "contradictions", "contradictory", "load", "load_groups", "read_rows"]


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
    text = _condition_text(data)
    rows = Conversion(data)
    counts = rows.counts
    with (progress or Progress.silent()).task("reading", unit="rows") as step:
        found = _merged(rows, step)
    if strict:
        rows.check_drops(data.max_drop_fraction)
    for group, _ in found:
        group.split = split_of(group, data.test_fraction, data.split_salt)
    loaded = Loaded([group for group, _ in found], counts, rows.format, rows.dropped_rows)
    if data.limit is not None and data.limit < len(found):
        loaded.groups = first_by_hash(loaded.groups, data.limit, data.split_salt)
        kept = {g.id for g in loaded.groups}
        inside = {key for group, keys in found if group.id in kept for key in keys}
        counts.drop("beyond_limit", len({key for _, keys in found for key in keys} - inside))
    if text or data.goal is not None:
        loaded.groups = [_asked(group, data) for group in loaded.groups]
    counts.rows_out = counts.rows_in - sum(counts.dropped.values())
    _describe(loaded, rows.source.notes)
    return loaded


def _merged(rows: Conversion, step: Step) -> list[tuple[Group, list[str]]]:
    """The distinct groups, in the order of their first rows, each with the keys of its rows."""
    found: dict[str, tuple[Group, list[str]]] = {}
    for key, groups in rows.groups(step):
        for group in groups:
            if group.id in found:
                merge(found[group.id][0], group, rows.source.notes)
                rows.source.notes["rows_merged_into_a_known_prompt"] += 1
            else:
                found[group.id] = group, []
            found[group.id][1].append(key)
    for group, keys in found.values():
        group.source.setdefault("row", rows_text(keys))
    return list(found.values())


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
    return contradictory(group.comparisons)


def contradictory(comparisons: list[Comparison]) -> int:
    """The same for a list of comparisons."""
    won = {(c.a, c.b) if c.outcome == "a" else (c.b, c.a) for c in comparisons if c.outcome in ("a", "b")}
    return sum((b, a) in won for a, b in won) // 2
