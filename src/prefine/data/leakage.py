"""Whether held-out prompts are truly held out: equal, nearly equal, continued, or made of the same source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from prefine.data.clean.base import Row
from prefine.data.clean.near import NearDuplicates
from prefine.data.clean.rows import group_of, messages_of
from prefine.data.clean.text import normal
from prefine.data.messages import first_user
from prefine.data.repeats import OF
from prefine.data.split import split_key
from prefine.data.steps import FolderRows
from prefine.rundir import StageDir
from prefine.schema import Group

SHOWN = 10
SIBLINGS = ("split_key", "root_id", OF)
"""Entries of `task_meta` that rows made of one thing share: two directions of a translation, copies, follow-ups."""


@dataclass
class Leakage:
    """Held-out prompts that the training part knows, by how; and some of them."""

    prompts: dict[str, int]
    found: dict[str, int]
    """Held-out prompts: `same_key` (the split's own key), `same_group`, `siblings`, `prefix`, `near_duplicate`."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    held_out_leaked: int = 0

    @property
    def share(self) -> float:
        """Share of the held-out prompts that leak in any way."""
        return self.held_out_leaked / max(1, self.prompts.get("test", 0))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "share": self.share}


def leakage(folders: list[StageDir], threshold: float = 0.8) -> Leakage:
    """Compare the held-out prompts of all folders with the training prompts of all of them.

    Takes some hundred bytes for a prompt. With a threshold of 1 only equal shingles count as near.
    """
    rows = _All(folders)
    marks: dict[str, dict[bytes, str]] = {"same_key": {}, "same_group": {}, "siblings": {}}
    sizes: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (group_of(row), row.split) in seen:
            continue
        seen.add((group_of(row), row.split))
        sizes[row.split] += 1
        if row.split != "test":
            for how, mark in _marks(row):
                marks[how].setdefault(mark, group_of(row))
    leaks: dict[str, dict[str, str]] = {how: {} for how in marks}
    for row in rows:
        for how, mark in _marks(row) if row.split == "test" else ():
            if mark in marks[how]:
                leaks[how].setdefault(group_of(row), marks[how][mark])
    return _report(sizes, {**leaks, "prefix": _continued(rows), "near_duplicate": _near(rows, threshold)})


class _All:
    """The rows of several folders."""

    def __init__(self, folders: list[StageDir]) -> None:
        self.folders = folders

    def __iter__(self) -> Iterator[Row]:
        return self.prompts()

    def prompts(self) -> Iterator[Row]:
        """Responses do not matter here."""
        for folder in self.folders:
            yield from FolderRows(folder).prompts()


def _marks(row: Row) -> Iterable[tuple[str, bytes]]:
    """What a prompt may share with one of the other part."""
    yield "same_group", _hash(group_of(row))
    if isinstance(row, Group):
        yield "same_key", _hash(split_key(row))
        for name in SIBLINGS:
            if value := row.task_meta.get(name):
                yield "siblings", _hash(name, value)
    else:
        yield "same_key", _hash(normal(first_user(row.prompt)))


def _turns(row: Row) -> list[bytes]:
    """A hash of each beginning of the prompt that ends with a user, shortest first; system messages left out."""
    turns = [m for m in messages_of(row) if m["role"] != "system"]
    texts = [f"{m['role']}: {normal(m['content'])}" for m in turns]
    ends = [k + 1 for k, m in enumerate(turns) if m["role"] in ("user", "tool")] or [len(turns)]
    return [_hash(*texts[:k]) for k in ends]


def _continued(rows: _All) -> dict[str, str]:
    """Held-out prompts that a training prompt continues, or that continue a training prompt."""
    whole: dict[str, dict[bytes, str]] = {"train": {}, "test": {}}
    for row in rows:
        whole["test" if row.split == "test" else "train"].setdefault(_turns(row)[-1], group_of(row))
    out: dict[str, str] = {}
    for row in rows:
        held_out = row.split == "test"
        for other in [i for mark in _turns(row) if (i := whole["train" if held_out else "test"].get(mark))]:
            out.setdefault(*((group_of(row), other) if held_out else (other, group_of(row))))
    return out


def _near(rows: _All, threshold: float) -> dict[str, str]:
    """Held-out prompts in a cluster with a training prompt."""
    step = NearDuplicates(threshold)
    step.prepare(None)
    step.fit(rows)
    split = {group_of(row): row.split for row in rows}
    out: dict[str, str] = {}
    for members in step.clusters():
        training = [i for i in members if split[i] != "test"]
        if training:
            out.update({i: training[0] for i in members if split[i] == "test"})
    return out


def _report(sizes: Counter[str], leaks: dict[str, dict[str, str]]) -> Leakage:
    examples = [
        {"how": how, "held_out": held_out, "training": training}
        for how, found in leaks.items()
        for held_out, training in sorted(found.items())[:SHOWN]
    ]
    found = {how: len(pairs) for how, pairs in leaks.items()}
    return Leakage(dict(sizes), found, examples, len({i for pairs in leaks.values() for i in pairs}))


def _hash(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).digest()
