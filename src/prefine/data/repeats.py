"""Rows that a mixture has more than once: each copy has an id and a number of its own."""

from __future__ import annotations

from dataclasses import replace

from prefine.data.clean.base import Row
from prefine.schema import Example, Group, digest

INDEX = "prefine.repeat_index"
"""The entry of `task_meta` that numbers the copies of a prompt, from 1; the first of its kind has none."""
OF = "prefine.repeat_of"
"""The entry of `task_meta` with the id of the prompt that this is a copy of."""


def repeated_id(row_id: str, index: int) -> str:
    """The id of a copy, as long as that of the original."""
    return digest({"repeat": index, "of": row_id})[: len(row_id)]


def repeated(row: Row, index: int) -> Row:
    """Copy number `index` of a row; 0 is the row itself. Copies of an example have its prompt's `group_id`."""
    if index == 0:
        return row
    if isinstance(row, Example):
        return replace(row, id=repeated_id(row.id, index))
    meta = {**row.task_meta, INDEX: str(index), OF: row.id}
    return replace(row, id=repeated_id(row.id, index), task_meta=meta)


def restore(group: Group) -> None:
    """Give a stored copy, whose id was worked out from its text again, the id that it had."""
    index = group.task_meta.get(INDEX, "")
    if index.isdigit():
        group.id = repeated_id(group.task_meta.get(OF) or group.id, int(index))
