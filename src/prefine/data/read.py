"""Rows out of files, `datasets` folders, hub data sets and functions, each with a key that says where it stood."""

from __future__ import annotations

import csv
import difflib
import gzip
import importlib
import inspect
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefine import recipe
from prefine.errors import PrefineError, nearest
from prefine.rundir import Counts
from prefine.schema import Group

Row = dict[str, Any] | Group
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_NESTED_CELL = re.compile(r"\s*[\[{]")


def read_rows(data: recipe.Data, counts: Counts | None = None) -> Iterator[tuple[str, Row]]:
    """The rows of all of `data.path`, each with its key `file#row`, rows counted from 0.

    A function source may yield `Group` objects instead of dictionaries. A torn last line of a JSONL file is
    skipped and counted in `counts` as `torn_last_line`; everything else that cannot be read raises `PrefineError`
    with file and line.
    """
    counts = counts or Counts()
    for path in [data.path] if isinstance(data.path, str) else data.path:
        if _FUNCTION.fullmatch(path) and not Path(path).exists():
            yield from _call(path, data.arguments)
        elif Path(path).exists():
            for file in _files(Path(path)):
                yield from _read_local(file, data, counts)
        elif any(c in path for c in "*?") and (
            found := sorted(Path().glob(path) if path[0] != "/" else _absolute(path))
        ):
            for file in found:
                yield from _read_local(file, data, counts)
        elif _looks_like_hub(path):
            yield from _read_hub(path, data)
        else:
            raise PrefineError(f"{path}: no such file{_nearest_file(Path(path))}")


def _absolute(pattern: str) -> Iterator[Path]:
    return Path("/").glob(pattern.lstrip("/"))


def _files(path: Path) -> list[Path]:
    """The path itself, or the data files of a folder that is not one of `datasets`."""
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return [path]
    if (path / "_SUCCESS").exists():
        return sorted(path.glob("part-*.parquet"))  # a stage's result, whose other files are no rows
    found = sorted(p for p in path.iterdir() if _suffix(p) in SUFFIXES and p.name != "manifest.json")
    if not found and (path / "data").is_dir():  # the layout of the hub
        return _files(path / "data")
    if not found:
        raise PrefineError(f"{path}: the folder holds no data files ({', '.join(SUFFIXES)}, also .gz)")
    return found


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _read_local(path: Path, data: recipe.Data, counts: Counts) -> Iterator[tuple[str, Row]]:
    if path.is_dir():
        rows = _datasets_folder(path, data)
    else:
        readers: dict[str, Callable[[Path, Counts], Iterator[Any]]] = {
            ".json": _json,
            ".jsonl": _jsonl,
            ".ndjson": _jsonl,
            ".csv": _csv,
            ".parquet": _parquet,
        }
        reader = readers.get(_suffix(path))
        if reader is None:
            raise PrefineError(f"{path}: files of this kind are not read; known: {', '.join(SUFFIXES)}, also .gz")
        rows = reader(path, counts)
    try:
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise PrefineError(f"{path}: row {i} is a {type(row).__name__}, not an object with named columns")
            yield f"{path.name}#{i}", row
    except (EOFError, gzip.BadGzipFile) as error:
        raise PrefineError(f"{path}: the compressed file is damaged or ends early: {error}") from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _text(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PrefineError(f"{place}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def _jsonl(path: Path, counts: Counts) -> Iterator[Any]:
    """One JSON value per line. Only the last line may be torn: what a killed writer leaves behind."""
    broken: tuple[int, Exception] | None = None
    with _open(path) as f:
        for number, raw in enumerate(f, 1):
            if not raw.strip():
                continue
            if broken is not None:
                break
            try:
                yield json.loads(raw.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                broken = number, error
        else:
            if broken is not None:
                counts.rows_in += 1
                counts.drop("torn_last_line")
            return
    number, error = broken
    raise PrefineError(f"{path}, line {number}: not valid JSON: {_short(error)}") from error


def _json(path: Path, counts: Counts) -> Iterator[Any]:
    """A list of objects, an object with one list of them, or (by a wrong name) JSON lines."""
    with _open(path) as f:
        text = _text(f.read(), str(path))
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise PrefineError(f"{path}: nested too deeply") from error
    except json.JSONDecodeError as error:
        first = text.lstrip().split("\n", 1)[0]
        if error.msg == "Extra data" and _is_json(first):
            yield from _jsonl(path, counts)
            return
        raise PrefineError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        value = lists[0] if len(lists) == 1 and not _looks_like_row(value) else [value]
    if not isinstance(value, list):
        raise PrefineError(f"{path}: a list of objects is expected, not a {type(value).__name__}")
    yield from value


def _looks_like_row(value: dict[str, Any]) -> bool:
    """True for one row that has messages, False for a file that wraps its rows in an object."""
    lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    return any({"role", "from", "completion"} & set(v[0]) for v in lists)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _short(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _csv(path: Path, _: Counts) -> Iterator[dict[str, Any]]:
    """Columns by the first line. Cells that hold JSON lists or objects, as nested columns do, are parsed."""
    csv.field_size_limit(sys.maxsize)
    with _open(path) as f:
        reader = csv.DictReader(io.TextIOWrapper(f, "utf-8-sig", newline=""), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    n, have = len(reader.fieldnames or []), sum(v is not None for v in row.values())
                    extra = len(row.get(None) or []) if None in row else 0  # type: ignore[call-overload]
                    found = n + extra if extra else have
                    raise PrefineError(f"{path}, line {reader.line_num}: {found} cells where the header has {n}")
                yield {k: _cell(v) for k, v in row.items()}
        except csv.Error as error:
            raise PrefineError(f"{path}, after line {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise PrefineError(f"{path}, after line {reader.line_num}: not UTF-8 text ({error.reason})") from error


def _cell(text: str) -> Any:
    if not _NESTED_CELL.match(text):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        return value if {"role", "from", "is_correct"} & set(value) else text
    nested = value and all(isinstance(v, (dict, list)) for v in value)
    plain = value and all(isinstance(v, str) or v is None for v in value)
    numbers = value and all(isinstance(v, (int, float)) or v is None for v in value)
    return value if nested or plain or numbers else text


def _parquet(path: Path, _: Counts) -> Iterator[dict[str, Any]]:
    source: Any = path
    if path.name.endswith(".gz"):
        with _open(path) as f:
            source = pa.BufferReader(f.read())
    try:
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise PrefineError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error


def _datasets_folder(path: Path, data: recipe.Data) -> Iterator[dict[str, Any]]:
    from datasets import DatasetDict, load_from_disk

    loaded = load_from_disk(str(path))
    if isinstance(loaded, DatasetDict):
        loaded = loaded[_choose_split(list(map(str, loaded)), data.split, str(path))]
    yield from (dict(row) for row in loaded)


def _read_hub(path: str, data: recipe.Data) -> Iterator[tuple[str, Row]]:
    import datasets

    try:
        splits = [str(s) for s in datasets.get_dataset_split_names(path, data.subset, revision=data.revision)]
        split = _choose_split(splits, data.split, path)
        rows = datasets.load_dataset(path, data.subset, split=split, revision=data.revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise PrefineError(
            f"{path}: no such file{_nearest_file(Path(path))}; as a hub data set it could not be loaded either: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    for i, row in enumerate(rows):
        yield f"{path}/{split}#{i}", dict(row)


def _choose_split(splits: list[str], wanted: str | None, where: str) -> str:
    if wanted is not None:
        # Slices such as train[:10%] are for `datasets` to read.
        if wanted.split("[")[0] in splits:
            return wanted
        raise PrefineError(f"{where}: there is no split '{wanted}'{nearest(wanted, splits)}")
    if "train" in splits or len(splits) == 1:
        return "train" if "train" in splits else splits[0]
    raise PrefineError(f"{where}: choose one of its splits with data.split: {', '.join(splits)}")


def _looks_like_hub(path: str) -> bool:
    """True for `name` or `owner/name`, unless that is plainly a file: by its ending, or in a folder that is here."""
    if not _HUB_ID.fullmatch(path) or _suffix(Path(path)) in (*SUFFIXES, ".txt", ".tsv", ".yaml"):
        return False
    return "/" not in path or not Path(path).parent.is_dir()


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    names = [p.name for p in folder.iterdir() if p.is_dir() or _suffix(p) in SUFFIXES]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean '{folder / close[0]}'?" if close else f" in {folder.resolve()}"


def _call(path: str, arguments: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        raise PrefineError(f"data.path {path}: there is no module '{module}' (is it on PYTHONPATH?)") from error
    function = getattr(found, name, None)
    if not callable(function):
        public = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
        raise PrefineError(f"data.path {path}: no function '{name}' in {module}{nearest(name, public)}")
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        known = inspect.signature(function).parameters
        wrong = [a for a in arguments if a not in known]
        raise PrefineError(
            f"data.arguments do not fit {path}{inspect.signature(function)}: {error}"
            f"{nearest(wrong[0], known) if wrong else ''}"
        ) from error
    for i, row in enumerate(iter(function(**arguments))):  # type: ignore[call-overload]
        if not isinstance(row, (dict, Group)):
            raise PrefineError(f"data.path {path}: item {i} is a {type(row).__name__}, not a dictionary or a Group")
        yield f"{path}#{i}", row
