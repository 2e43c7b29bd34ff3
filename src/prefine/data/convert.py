"""One source on its way to groups: its format is found, each row converted, every dropped row counted."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prefine import recipe
from prefine.data.build import Source
from prefine.data.detect import LOOK_AT, Format, detect
from prefine.data.messages import Dropped
from prefine.data.read import Row, read_rows
from prefine.errors import PrefineError
from prefine.progress import Step
from prefine.rundir import Counts
from prefine.schema import Group

SHOWN_ROWS = 20
"""Keys kept for each reason to drop a row, and for each group."""


@dataclass
class Conversion:
    """The rows of `data`, to be read once. After `groups`, `counts` has the rows in and those dropped by reason."""

    data: recipe.Data
    license: str | None = None
    """The license of the source; without it, the one that its format is known for."""
    counts: Counts = field(default_factory=Counts)
    dropped_rows: dict[str, list[str]] = field(default_factory=dict)
    """Reason to the keys of the first rows that were dropped for it."""

    def __post_init__(self) -> None:
        """Read the first rows and find the format; raises where there is none, or no row."""
        paths = [self.data.path] if isinstance(self.data.path, str) else self.data.path
        self.where = ", ".join(paths)
        name = ", ".join(p if ":" in p else Path(p).name for p in paths)
        self.source = Source(name, self.data.plain_text, revision=self.data.revision)
        self._rows = read_rows(self.data, self.counts)
        self._head = list(itertools.islice(self._rows, LOOK_AT))
        if not self._head:
            raise PrefineError(f"{self.where}: there are no rows in it")
        self._form: Format | None = None
        self.format = "canonical"
        dicts = [row for _, row in self._head if isinstance(row, dict)]
        if dicts:
            named = self.data.format
            block = dict(named) if isinstance(named, dict) else {"name": named}
            wanted = block.pop("name", None)
            self.format, self._form = detect(dicts, self.where, wanted, block)

    def groups(self, step: Step) -> Iterator[tuple[str, list[Group]]]:
        """The key of each row that can be used, with its groups (not yet merged with those of other rows)."""
        for key, row in itertools.chain(self._head, self._rows):
            self.counts.rows_in += 1
            step(1)
            before = Counter(self.source.notes)
            try:
                found = self._convert(key, row)
            except Dropped as dropped:
                self.source.notes = before
                self._drop(key, dropped)
                continue
            if len(found) > 1:
                self.source.notes["groups_beside_the_first_of_a_row"] += len(found) - 1
            yield key, found

    def check_drops(self, most: float) -> None:
        """Raise when more than the share `most` of the rows was dropped, or all of them."""
        counts = self.counts
        dropped = sum(counts.dropped.values())
        if dropped < counts.rows_in and dropped <= most * counts.rows_in:
            return
        reasons = "; ".join(
            f"{n} x {reason} ({self.dropped_rows.get(reason, ['?'])[0]})"
            for reason, n in sorted(counts.dropped.items(), key=lambda item: -item[1])
        )
        raise PrefineError(
            f"{self.where}: {dropped} of {counts.rows_in} rows cannot be used as '{self.format}' "
            f"(data.max_drop_fraction is {most:g}): {reasons}. `prefine data check` shows more; data.format names "
            "another format"
        )

    def _drop(self, key: str, dropped: Dropped) -> None:
        self.counts.drop(dropped.reason)
        keys = self.dropped_rows.setdefault(dropped.reason, [])
        if len(keys) < SHOWN_ROWS:
            keys.append(f"{key}: {dropped.detail}" if dropped.detail else key)

    def _convert(self, key: str, row: Row) -> list[Group]:
        if isinstance(row, Group):
            if not row.messages:
                raise Dropped("empty_prompt")
            groups = [row]
        elif self._form is None:
            raise PrefineError(f"{key}: a dictionary among Group objects; yield one kind")
        else:
            found = self._form(row, self.source)
            groups = found if isinstance(found, list) else [found]
        for group in groups:
            self._note_origin(group)
        return groups

    def _note_origin(self, group: Group) -> None:
        facts = {"license": getattr(self._form, "license", ""), "url": getattr(self._form, "url", "")}
        for key, value in facts.items():
            if value:
                group.source.setdefault(key, value)
        if self.license:
            group.source["license"] = self.license
        if self.data.revision:
            group.source["revision"] = self.data.revision


def rows_text(keys: list[str]) -> str:
    """The keys of the rows that a group is made of, as its `source` has them."""
    more = f" and {len(keys) - SHOWN_ROWS} more" if len(keys) > SHOWN_ROWS else ""
    return ", ".join(keys[:SHOWN_ROWS]) + more
