"""Files of judgments: a JSON array or JSON lines, plain or gzipped, one file or a folder of them."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from prefine.errors import PrefineError, nearest

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
ANNOTATIONS = "annotations.json"
"""What AlpacaEval calls its judgments; other files of its folders (model_outputs.json) are none."""


@dataclass(frozen=True)
class Row:
    """One object of a file; `number` counts from 1, as lines do."""

    values: dict[str, Any]
    file: Path
    number: int

    @property
    def place(self) -> str:
        """File and row, as errors name them."""
        return f"{self.file}: row {self.number}"

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str) -> Any:
        """The value of `key`, None where there is none."""
        return self.values.get(key)

    def need(self, *keys: str) -> Any:
        """The value of the first of `keys` that the row has."""
        for key in keys:
            if self.values.get(key) is not None:
                return self.values[key]
        wanted = " or ".join(f"'{k}'" for k in keys)
        self.wrong(f"no key {wanted}{nearest(keys[0], self.values)}")

    def number_at(self, key: str) -> float | None:
        """A finite number; None where the key is missing, null or NaN."""
        value = self.values.get(key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
            self.wrong(f"{key}: {json.dumps(value)[:60]} is not a number")
        return value

    def whole_at(self, key: str) -> int:
        """A whole number that must be there; `3.0` counts as one."""
        value = self.number_at(key)
        if value is None or value != int(value):
            self.wrong(f"{key}: {json.dumps(self.values.get(key))[:60]} is not a whole number")
        return int(value)

    def wrong(self, what: str) -> NoReturn:
        """Raise an error that names this row."""
        raise PrefineError(f"{self.place}: {what}")


def files_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder and the folders in it, in the order of their names.

    Where a folder holds AlpacaEval's `annotations.json` files, these are meant and nothing beside them.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise PrefineError(f"there is no file or folder {path}{nearest(path.name, beside) if beside else ''}")
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES))
    if not found:
        raise PrefineError(f"{path}: no file in this folder ends with {', '.join(SUFFIXES)}")
    return [p for p in found if p.name.removesuffix(".gz") == ANNOTATIONS] or found


def read_rows(files: Sequence[Path]) -> list[Row]:
    """All rows of all files, in order."""
    return [row for file in files for row in read_file(file)]


def read_file(file: Path) -> list[Row]:
    """The rows of one file: those of a JSON array, or one object a line; empty lines do not count."""
    text = _text(file)
    array = text.lstrip().startswith("[")
    rows = [Row(_object(value, file, n), file, n) for n, value in (_array(text, file) if array else _lines(text, file))]
    if not rows:
        raise PrefineError(f"{file}: there is no row in it")
    return rows


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PrefineError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except (OSError, EOFError) as error:
        raise PrefineError(f"{file}: cannot be read ({error})") from None


def _array(text: str, file: Path) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(json.loads(text), 1)
    except json.JSONDecodeError as error:
        raise PrefineError(f"{file}: line {error.lineno}: not JSON ({error.msg})") from None


def _lines(text: str, file: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise PrefineError(f"{file}: row {number}: not JSON ({error.msg})") from None


def _object(value: Any, file: Path, number: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PrefineError(f"{file}: row {number}: an object with keys is wanted, not {type(value).__name__}")
    return value


def stem(file: Path) -> str:
    """The name of a file without its ending; that of its folder for `annotations.json`."""
    name = next(
        (file.name.removesuffix(s) for s in sorted(SUFFIXES, key=len)[::-1] if file.name.endswith(s)), file.stem
    )
    return file.parent.name if name == ANNOTATIONS.removesuffix(".json") and file.parent.name else name
