"""Which prompts are held out, decided anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from prefine.data.clean.base import Cleaner, Decided, Row, keep
from prefine.data.messages import first_user
from prefine.data.split import split_of
from prefine.errors import PrefineError
from prefine.registry import cleaners
from prefine.schema import Example


@cleaners.register("split")
class Split(Cleaner):
    """Holds out prompts by a hash of their first user turn: dialogues that begin alike are on one side.

    Formula: test if sha256(salt, key) is among the first test_fraction of all values; key: `task_meta["split_key"]`,
    or else the first user turn without case and spacing
    Defaults: test_fraction 0.1, salt prefine, as in the data section of a recipe
    """

    def __init__(self, test_fraction: float = 0.1, salt: str = "prefine") -> None:
        if not 0 <= test_fraction <= 1:
            raise ValueError(f"test_fraction must be between 0 and 1, not {test_fraction}")
        self.test_fraction, self.salt = test_fraction, salt
        self._moved: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def decide(self, row: Row) -> Decided:
        if isinstance(row, Example):
            raise PrefineError(
                f"split: examples have their prompts' splits; split groups (prompt {first_user(row.prompt)[:40]!r})"
            )
        found = split_of(row, self.test_fraction, self.salt)
        self._sizes[found] += 1
        if found == row.split:
            return keep(row)
        self._moved[f"{row.split} to {found}"] += 1
        return keep(replace(row, split=found), "moved", before=row.split, after=found)

    def facts(self) -> dict[str, Any]:
        return {"splits": dict(sorted(self._sizes.items())), "moved": dict(sorted(self._moved.items()))}
