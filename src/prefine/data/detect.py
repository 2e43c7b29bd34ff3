"""Which format a table has: decided by the columns and by the types of their values in the first rows."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

from prefine.data.build import Source
from prefine.errors import PrefineError
from prefine.registry import formats
from prefine.schema import Group

LOOK_AT = 256
"""Rows that detection looks at."""


class Format(Protocol):
    """A format: where it stands in the order, what it tells, the columns it uses, and how a row becomes a group."""

    rank: ClassVar[int]
    """Position in the order of detection: the most specific signature first."""
    tells: ClassVar[str]
    """`groups`, `preferences`, `responses` or `prompts`: what a row holds."""
    columns: ClassVar[tuple[str, ...]]
    """The columns it uses; all others are carried along as `task_meta`."""

    def matches(self, table: Columns) -> bool:
        """True when the table looks like this format."""
        ...

    def __call__(self, row: dict[str, Any], source: Source) -> Group | list[Group]:
        """The group of a row, or its groups; raises `Dropped` with the reason when the row cannot be used.

        A format of one data set may also have the attributes `license` and `url`, which become part of the source.
        """
        ...


class Columns:
    """The columns of a table and the kinds of their values, from its first rows.

    Kinds: text, number, bool, message, messages, texts, numbers, lists, list, dict, empty (list), null.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.kinds: dict[str, Counter[str]] = {}
        for row in rows:
            for name, value in row.items():
                self.kinds.setdefault(name, Counter())[kind_of(value)] += 1

    def __contains__(self, name: str) -> bool:
        return name in self.kinds

    def has(self, name: str, *kinds: str) -> bool:
        """True when half of the rows have a value in `name`, and most of these values are of one of `kinds`."""
        found = self.kinds.get(name, Counter())
        present = found.total() - found["null"]
        return present >= 0.5 * len(self.rows) and sum(found[k] for k in kinds) > 0.5 * present

    def share(self, name: str, part: str) -> float:
        """Share of the rows whose text in `name` contains `part`."""
        return sum(isinstance(r.get(name), str) and part in r[name] for r in self.rows) / max(1, len(self.rows))

    def describe(self) -> str:
        """The columns with the kind that is most frequent, for messages."""
        return ", ".join(f"{name} ({kinds.most_common(1)[0][0]})" for name, kinds in self.kinds.items())


def kind_of(value: Any) -> str:
    """The kind of one value, as `Columns` names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return "message" if _is_message(value) else "dict"
    if isinstance(value, (list, tuple)):
        return _kind_of_list(value)
    return type(value).__name__


def _kind_of_list(value: list[Any] | tuple[Any, ...]) -> str:
    if not value:
        return "empty"
    if all(isinstance(v, str) for v in value):
        return "texts"
    if all(isinstance(v, dict) for v in value):
        return "messages" if all(_is_message(v) for v in value) else "dicts"
    if all(v is None or isinstance(v, (int, float, str)) for v in value):
        return "numbers"
    return "lists" if all(isinstance(v, (list, tuple)) for v in value) else "list"


def _is_message(value: dict[str, Any]) -> bool:
    return ("role" in value and ("content" in value or "tool_calls" in value)) or ("from" in value and "value" in value)


_MORE = {"groups": 0, "preferences": 1, "responses": 2, "prompts": 3}


def detect(
    rows: Iterable[dict[str, Any]], where: str, wanted: str | None = None, settings: dict[str, Any] | None = None
) -> tuple[str, Format]:
    """The name and an instance of the format of `rows`; with `wanted` that one, if its columns are there.

    The first match in the order of `rank` wins. It is an error when another match tells as much about a row and
    uses columns that the first one would ignore. `settings` are those of the format's constructor.
    """
    table = Columns(list(rows))
    if wanted is not None:
        return _forced(wanted, table, where, settings or {})
    known = {name: entry.load()() for name, entry in formats.entries().items()}
    found = sorted(((n, f) for n, f in known.items() if f.matches(table)), key=lambda nf: nf[1].rank)
    if not found:
        raise PrefineError(
            f"{where}: no known format has these columns: {table.describe() or 'none'}. "
            f"{_advice(table) or _nearest(known, table)}Rename the columns, or name one of the formats with "
            f"data.format (--format on the command line): {', '.join(known)}"
        )
    name, best = found[0]
    rivals = [
        n for n, f in found[1:] if _MORE[f.tells] <= _MORE[best.tells] and _present(f, table) - _present(best, table)
    ]
    if rivals:
        raise PrefineError(
            f"{where}: the columns {table.describe()} fit the formats {', '.join([name, *rivals])}; choose one with "
            f"data.format (--format on the command line)"
        )
    return name, formats.build({"name": name, **settings}) if settings else best


def _advice(table: Columns) -> str:
    if table.has("chosen", "text") and table.has("rejected", "text") and "prompt" not in table:
        return (
            "Without a column prompt, where the prompt ends cannot be told from how both texts happen to begin: add "
            "the column, or give chosen and rejected as messages. "
        )
    return ""


def _nearest(known: dict[str, Format], table: Columns) -> str:
    """The format that shares most columns with the table, the most general of several, and what may be misspelled."""

    def spelled(name: str) -> list[tuple[str, str]]:
        missing = [c for c in known[name].columns if c not in table]
        others = [c for c in table.kinds if c not in known[name].columns]
        close = [(difflib.get_close_matches(c, missing, n=1, cutoff=0.75), c) for c in others]
        return [(c, found[0]) for found, c in close if found]

    fits = {name: len(_present(form, table)) + len(spelled(name)) for name, form in known.items()}
    best = max(known, key=lambda name: (fits[name], known[name].rank))
    if not fits[best]:
        return ""
    wrong = "; ".join(f"'{c}' may be meant as '{meant}'" for c, meant in spelled(best))
    return f"The nearest is '{best}' ({', '.join(known[best].columns)}){f': {wrong}' if wrong else ''}. "


def _present(form: Format, table: Columns) -> set[str]:
    return {c for c in form.columns if c in table}


def _forced(name: str, table: Columns, where: str, settings: dict[str, Any]) -> tuple[str, Format]:
    form: Format = formats.build({"name": name, **settings})
    if table.rows and not _present(form, table):
        raise PrefineError(
            f"{where}: format '{name}' reads the columns {', '.join(form.columns)}; found: {table.describe() or 'none'}"
        )
    return name, form
