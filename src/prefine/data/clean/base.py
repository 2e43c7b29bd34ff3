"""What a cleaning step is: it may look at all rows first, then it says of every row whether it stays, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from prefine.errors import PrefineError
from prefine.schema import Example, Group

if TYPE_CHECKING:
    import numpy as np

Row = Group | Example


class Rows(Protocol):
    """The rows of a folder, read anew each time they are iterated; never all in memory."""

    def __iter__(self) -> Iterator[Row]: ...

    def prompts(self) -> Iterator[Row]:
        """The same rows without responses and comparisons, which is several times faster."""
        ...


class Models(Protocol):
    """What a step may ask of models. It is given by whoever runs the step, since data stands below models."""

    def token_counter(self, model: str) -> Any:
        """A function from texts to their lengths in tokens."""
        ...

    def embed(self, model: str, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), width) float32: the mean of a model's last hidden states over the tokens of each text."""
        ...

    def close(self) -> None:
        """Let go of what was loaded."""
        ...


@dataclass(frozen=True)
class Verdict:
    """Whether a row, or a response or comparison in it, stays. `evidence` is what a reader needs to check it."""

    keep: bool
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass
class Decided:
    """What a step makes of a row: its fate, the rows that go on instead of it, and the fates of parts of it by id.

    `rows` is usually the row itself or nothing; rows that become one go on when the last of them has been seen.
    """

    verdict: Verdict
    rows: list[Row] = field(default_factory=list)
    parts: dict[str, Verdict] = field(default_factory=dict)


def keep(row: Row, reason: str = "", **evidence: Any) -> Decided:
    """The row goes on as it is."""
    return Decided(Verdict(True, reason, evidence), [row])


def drop(reason: str, **evidence: Any) -> Decided:
    """The row ends here."""
    return Decided(Verdict(False, reason, evidence))


class Cleaner:
    """A step. The result must not depend on the order of rows, nor on how they are cut into parts."""

    training_only = False
    """True where held-out rows pass untouched: a choice among good rows, which must not bend what is evaluated."""

    def prepare(self, models: Models | None) -> None:
        """Load and check what is needed, before the first row."""

    def fit(self, rows: Rows) -> None:
        """Look at all rows (those that the step is about), as often as needed, and remember little."""

    def decide(self, row: Row) -> Decided:
        """The fate of one row."""
        raise TypeError(f"{type(self).__name__} has no method decide(row)")

    def facts(self) -> dict[str, Any]:
        """What a reader of the manifest wants to know, after the last row."""
        return {}


def order(seed: int, *parts: str) -> str:
    """A hash to sort and choose by: it depends on content alone, and the first 10 are among the first 20."""
    return hashlib.sha256("\0".join([str(seed), *parts]).encode("utf-8", "surrogatepass")).hexdigest()


def need_models(models: Models | None, what: str) -> Models:
    """The models that a step was given; an error where it was run without any."""
    if models is None:
        raise PrefineError(f"{what} needs a model, and none can be loaded here")
    return models
