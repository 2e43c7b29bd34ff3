"""The files, folders, models and functions that a recipe names: whether they are there, and under which path."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

from prefine.component_source import source_of, top_level_names
from prefine.errors import PrefineError, nearest
from prefine.recipe import COMPONENTS, Model
from prefine.recipe.text import Document, at, items, matches
from prefine.recipe.text import Path as Keys
from prefine.registry import Registry, benchmarks, engines

EMBEDDED = ("tiny-student", "tiny-teacher")
DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst")
MODEL_SETTINGS = ("path", "model", "teacher", "reference_model", "tokenizer")
"""Settings of components that hold a model, by folder, hub id or embedded name."""

FILES = ("topics", "personas", "prices", "calibration", "refusals")
"""Settings of components, besides templates, that name a file."""
REFERENCE = "variant:"
"""How a variant names what an earlier one of the same recipe has made."""
ROW_STAGES = ("data", "prompts", "generate", "label")
QUESTIONS = ("questions", "references", "baseline")
"""Settings of judged benchmarks that name a source of rows."""

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def path_checks(document: Document, folder: Path) -> None:
    """Look up every file, folder and function that the recipe names.

    Those found only beside the recipe get that path.
    """
    data = document.data
    for section in ((), ("evaluate",)):
        for key in ("data", "control_data"):
            value = at(data, *section, key, "path")
            if isinstance(value, str):
                _check_data(document, (*section, key, "path"), value, folder)
            for i, item in enumerate(value if isinstance(value, list) else []):
                if isinstance(item, str):
                    _check_data(document, (*section, key, "path", i), item, folder)
    if isinstance(path := at(data, "model", "path"), str):
        _check_model(document, ("model", "path"), path, folder)
    template = at(data, "model", "chat_template")
    if isinstance(template, str):
        _check_file(document, ("model", "chat_template"), template, folder, "chat template", ["chatml", "plain"])
    for i, run in enumerate(items(data, "evaluate", "against")):
        if isinstance(run, str):
            _check_file(document, ("evaluate", "against", i), run, folder, "run", [])
    if isinstance(tasks := at(data, "evaluate", "tasks", "include_path"), str):
        _check_file(document, ("evaluate", "tasks", "include_path"), tasks, folder, "folder of tasks", [])
    for kind, keys in [(kind, path) for pattern, kind in COMPONENTS.items() for path in matches(data, pattern)]:
        block = at(data, *keys)
        remote = _is_remote(kind, block)
        for name, value in block.items() if isinstance(block, dict) else ():
            if name in MODEL_SETTINGS and remote:
                continue
            if name in MODEL_SETTINGS and isinstance(value, str):
                _check_model(document, (*keys, name), value, folder)
            elif name in MODEL_SETTINGS and isinstance(value, dict):
                _check_model_block(document, (*keys, name), value, folder)
            elif kind is benchmarks and name in QUESTIONS and isinstance(value, str):
                if name == "baseline" and any((f / value).is_dir() for f in (Path(), folder)):
                    _found(document, (*keys, name), value, folder)
                elif (name, value) != ("baseline", "start"):
                    _check_data(document, (*keys, name), value, folder)
            elif kind is benchmarks and name in ("data", "templates") and isinstance(value, str):
                _check_file(document, (*keys, name), value, folder, "file", [])
            elif name == "against" and isinstance(value, list):
                for i, entry in enumerate(value):
                    if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                        _check_data(document, (*keys, name, i, "path"), entry["path"], folder)
            elif name == "embeddings" and isinstance(value, str):
                _check_file(document, (*keys, name), value, folder, "file with embeddings", [])
            elif isinstance(value, str) and (name in FILES or name.endswith("template")):
                _check_file(
                    document, (*keys, name), value, folder, "file", ["tiny_world"] if name == "template" else []
                )
            elif name in ("principle_texts", "aspects") and isinstance(value, (dict, list)):
                for title, path in value.items() if isinstance(value, dict) else enumerate(value):
                    if isinstance(path, str) and (name != "aspects" or path.endswith(".txt")):
                        _check_file(document, (*keys, name, title), path, folder, "text", [])
            elif name in ("function", "valid") and isinstance(value, str):
                _check_function(document, (*keys, name), value)


def _is_remote(kind: Registry, block: Any) -> bool:
    """Whether a block is an engine whose model is a server's affair."""
    if kind is not engines or not isinstance(block, dict):
        return False
    try:
        return not engines.find(str(block.get("name"))).attributes.get("local_model")
    except PrefineError:
        return False


def _check_reference(document: Document, keys: Keys, path: str) -> None:
    """`variant:NAME` is the model that an earlier variant trained, `variant:NAME/STAGE` the rows of a stage of it."""
    name, slash, stage = path.removeprefix(REFERENCE).partition("/")
    if document.earlier is not None and name not in document.earlier:
        document.add(keys, f"there is no earlier variant '{name}'{nearest(name, document.earlier)}")
    if (keys[-1] == "path" and "data" in keys[-2:]) != bool(slash):
        what = f"data is {REFERENCE}{name}/STAGE" if "data" in keys[-2:] else f"a model is {REFERENCE}{name}"
        document.add(keys, f"{what}, not '{path}'")
    elif slash and stage not in ROW_STAGES:
        document.add(keys, f"there are no rows of a stage '{stage}'{nearest(stage, ROW_STAGES)}")


def _check_data(document: Document, keys: Keys, path: str, folder: Path) -> None:
    if path.startswith(REFERENCE):
        _check_reference(document, keys, path)
        return
    if _FUNCTION.match(path):
        _check_function(document, keys, path)
        return
    looks_local = path.endswith(DATA_SUFFIXES) or _looks_local(path, folder)
    if _found(document, keys, path, folder) or not looks_local or any(c in path for c in "*?["):
        return
    document.add(keys, f"there is no file {path}{_neighbor(path, folder)}")


def _check_model(document: Document, keys: Keys, path: str, folder: Path) -> None:
    if path.startswith(REFERENCE):
        _check_reference(document, keys, path)
        return
    if path in EMBEDDED or _found(document, keys, path, folder):
        return
    close = difflib.get_close_matches(path, EMBEDDED, n=1, cutoff=0.75)
    if close:
        document.add(keys, f"there is no model '{path}'; did you mean '{close[0]}'?")
    elif _looks_local(path, folder):
        document.add(keys, f"there is no model folder {path}{_neighbor(path, folder)}")
    elif not _HUB_ID.match(path):
        document.add(keys, f"'{path}' is neither a folder nor a hub id (name or owner/name)")


def _check_model_block(document: Document, keys: Keys, block: dict[str, Any], folder: Path) -> None:
    """A model given as a section, `{path: ..., dtype: ...}`, with the keys of the recipe's own `model`."""
    for key in block:
        if key not in Model.model_fields:
            document.add((*keys, key), f"unknown key{nearest(str(key), Model.model_fields)}")
    if isinstance(block.get("path"), str):
        _check_model(document, (*keys, "path"), block["path"], folder)


def _check_file(document: Document, keys: Keys, path: str, folder: Path, what: str, words: list[str]) -> None:
    if path not in words and not _found(document, keys, path, folder):
        close = difflib.get_close_matches(path, words, n=1, cutoff=0.6)
        hint = f"; did you mean '{close[0]}'?" if close else _neighbor(path, folder)
        document.add(keys, f"there is no {what} {path}{hint}")


def _check_function(document: Document, keys: Keys, text: str) -> None:
    module, colon, function = text.partition(":")
    if not colon or not _FUNCTION.match(text):
        document.add(keys, f"'{text}' is not module:function, as in my_scores:length")
        return
    source = source_of(module)
    if source is None:
        document.add(keys, f"there is no module '{module}' (is its folder on PYTHONPATH?)")
        return
    try:
        names = top_level_names(source) if source.suffix == ".py" else None
    except PrefineError as error:
        document.add(keys, str(error))
        return
    if names is not None and function not in names:
        document.add(keys, f"the module '{module}' has no function '{function}'{nearest(function, names)}")


def _found(document: Document, keys: Keys, path: str, folder: Path) -> bool:
    """Whether the path exists; one that exists only beside the recipe is put in its place in the data."""
    plain = os.path.expanduser(path)
    beside = os.path.join(folder, plain)
    if not plain or not (os.path.exists(plain) or os.path.exists(beside)):
        return False
    found = plain if os.path.exists(plain) else beside
    if found != path:
        at(document.data, *keys[:-1])[keys[-1]] = found
    return True


def _looks_local(path: str, folder: Path) -> bool:
    first = path.split("/", 1)[0]
    below = "/" in path and (os.path.isdir(first) or os.path.isdir(folder / first))
    return path.startswith((".", "/", "~")) or path.endswith("/") or path.count("/") > 1 or below


def _neighbor(path: str, folder: Path) -> str:
    """The nearest existing name beside a path that does not exist, or the part of the path that is missing."""
    plain = Path(os.path.expanduser(path))
    for parent in dict.fromkeys([plain.parent, (folder / plain).parent]):
        if os.path.isdir(parent):
            close = difflib.get_close_matches(plain.name, [p.name for p in parent.iterdir()], n=1, cutoff=0.5)
            if close:
                return f"; did you mean '{plain.parent / close[0]}'?"
    missing = [p for p in plain.parents if not os.path.exists(p) and not os.path.exists(folder / p)]
    return f" (and no folder {missing[-1]})" if missing else f" (looked in the current folder and in {folder})"
