"""Mistakes in a recipe that no single key shows: files that are not there, stages that do not fit together."""

from __future__ import annotations

import difflib
import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

from prefine import registry
from prefine.component_source import Entry, source_of, top_level_names
from prefine.errors import PrefineError, nearest
from prefine.recipe import Model, Pair
from prefine.recipe_yaml import Document
from prefine.recipe_yaml import Path as Keys
from prefine.type_words import size_words

EMBEDDED = ("tiny-student", "tiny-teacher")
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst")
MODEL_SETTINGS = ("path", "model", "teacher")
"""Settings of components that hold a model, by folder, hub id or embedded name."""

_NEUTRAL = {"prompt", "id", "task", "source", "split"}
"""Columns of formats with responses that prompts by themselves may have, too."""
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def path_checks(document: Document, folder: Path) -> None:
    """Look up every file, folder and function that the recipe names.

    Those found only beside the recipe get that path.
    """
    data = document.data
    for section in ((), ("evaluate",)):
        for key in ("data", "control_data"):
            value = _get(data, *section, key, "path")
            if isinstance(value, str):
                _check_data(document, (*section, key, "path"), value, folder)
            for i, item in enumerate(value if isinstance(value, list) else []):
                if isinstance(item, str):
                    _check_data(document, (*section, key, "path", i), item, folder)
    if isinstance(path := _get(data, "model", "path"), str):
        _check_model(document, ("model", "path"), path, folder)
    template = _get(data, "model", "chat_template")
    if isinstance(template, str):
        _check_file(document, ("model", "chat_template"), template, folder, "chat template", ["chatml", "plain"])
    for i, run in enumerate(_list(data, "evaluate", "against")):
        if isinstance(run, str):
            _check_file(document, ("evaluate", "against", i), run, folder, "run", [])
    for keys in _component_paths(data):
        for name, value in (_get(data, *keys) or {}).items():
            if name in MODEL_SETTINGS and isinstance(value, str):
                _check_model(document, (*keys, name), value, folder)
            elif name in MODEL_SETTINGS and isinstance(value, dict):
                _check_model_block(document, (*keys, name), value, folder)
            elif name == "template" and isinstance(value, str):
                _check_file(document, (*keys, name), value, folder, "template", ["tiny_world"])
            elif name == "function" and isinstance(value, str):
                _check_function(document, (*keys, name), value)


def cross_checks(document: Document) -> None:
    """Whether each stage finds what it needs in the stages before it.

    Sections that are wrong themselves are passed by.
    """
    data = document.data
    if _section(data, "label") and not _section(data, "generate") and _gives(data, "responses") is False:
        document.add(("label",), f"{_format(data)} has no responses to score; add a generate section")
    if _section(data, "pair") and not _section(data, "label") and _needs_scores(_pairer(data)):
        if _section(data, "generate"):
            document.add(("pair",), "nothing scores the generated responses; add a label section")
        elif _gives(data, "scores") is False:
            document.add(("pair",), f"{_format(data)} has no scores to pair by; add a label section")
    if _section(data, "report") and not _section(data, "evaluate"):
        document.add(("report",), "there is nothing to report without an evaluation; add an evaluate section")
    _check_scores(document)
    _check_objective(document)


def _check_scores(document: Document) -> None:
    data = document.data
    labelers = [b for b in _list(data, "label", "labelers") if isinstance(b, dict) and isinstance(b.get("name"), str)]
    if not labelers or not _section(data, "pair"):
        return
    names = [str(b.get("as_name") or b["name"]) for b in labelers]
    score = _get(data, "pair", "score")
    if score is None and len(set(names)) > 1 and _needs_scores(_pairer(data)):
        example = f"score: {names[0]}"
        document.add(("pair",), f"there are several scorers ({', '.join(names)}); say which decides, as in {example}")
    if _gives(data, "scores"):
        return
    for name in [score] if isinstance(score, str) else score if isinstance(score, dict) else []:
        if name not in names:
            keys = ("pair", "score") if isinstance(score, str) else ("pair", "score", name)
            document.add(keys, f"no labeler gives the score '{name}'{nearest(str(name), names)}")


def _check_objective(document: Document) -> None:
    """The pairer must make groups of the size that the objective takes, with scores if it reads them."""
    data = document.data
    objective = _entry(registry.objectives, _get(data, "train", "objective"))
    if objective is None:
        return
    wanted = objective.attributes.get("group_size", 2)
    if _section(data, "pair"):
        pairer = _pairer(data)
        if pairer is not None and "group_size" in pairer.attributes and pairer.attributes["group_size"] != wanted:
            fitting = [
                e.name for e in registry.pairers.entries().values() if e.attributes.get("group_size", 0) == wanted
            ]
            text = (
                f"the objective '{objective.name}' takes {size_words(wanted)}, but the pairer '{pairer.name}' gives "
                f"{size_words(pairer.attributes['group_size'])}; pairers that fit: {', '.join(fitting) or 'none'}"
            )
            place = ("pair", "pairer", "name") if isinstance(_get(data, "pair", "pairer"), dict) else ("pair",)
            document.add(place, text)
    elif objective.attributes.get("needs_scores") and not _section(data, "label") and _gives(data, "scores") is False:
        document.add(
            ("train", "objective", "name"),
            f"the objective '{objective.name}' needs scores and {_format(data)} has none; add a label section",
        )
    most, sampled = objective.attributes.get("max_group_size"), _get(data, "generate", "num_responses")
    if wanted is None and isinstance(most, int) and isinstance(sampled, int) and sampled > most:
        text = f"the objective '{objective.name}' takes at most {most} responses of a prompt, not {sampled}"
        document.add(("generate", "num_responses"), text)
    if _gives(data, "responses") is False and not _section(data, "generate"):
        document.add(("train",), f"{_format(data)} has no responses to train on; add generate, label and pair sections")


def _check_data(document: Document, keys: Keys, path: str, folder: Path) -> None:
    if _FUNCTION.match(path):
        _check_function(document, keys, path)
        return
    looks_local = path.endswith(DATA_SUFFIXES) or _looks_local(path, folder)
    if _found(document, keys, path, folder) or not looks_local or any(c in path for c in "*?["):
        return
    document.add(keys, f"there is no file {path}{_neighbor(path, folder)}")


def _check_model(document: Document, keys: Keys, path: str, folder: Path) -> None:
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
        _get(document.data, *keys[:-1])[keys[-1]] = found
    return True


def _looks_local(path: str, folder: Path) -> bool:
    first = path.split("/", 1)[0]
    below = "/" in path and (os.path.isdir(first) or os.path.isdir(folder / first))
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or below


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


def _get(data: Any, *keys: str | int) -> Any:
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _list(data: Any, *keys: str | int) -> list[Any]:
    value = _get(data, *keys)
    return value if isinstance(value, list) else []


def _section(data: Any, name: str) -> bool:
    return isinstance(_get(data, name), dict)


def _component_paths(data: Any) -> list[Keys]:
    places: list[Keys] = [("generate", "generator")]
    places += [("label", "labelers", i) for i in range(len(_list(data, "label", "labelers")))]
    places += [("evaluate", "metrics", i) for i in range(len(_list(data, "evaluate", "metrics")))]
    return [p for p in places if isinstance(_get(data, *p), dict)]


def _entry(kind: registry.Registry, block: Any) -> Entry | None:
    """The component that a block names, or None where the name is wrong (which is reported elsewhere)."""
    name = block.get("name") if isinstance(block, dict) else None
    try:
        return kind.find(name) if isinstance(name, str) else None
    except PrefineError:
        return None


def _pairer(data: Any) -> Entry | None:
    given = _get(data, "pair", "pairer")
    return _entry(registry.pairers, Pair().pairer if given is None else given)


def _needs_scores(pairer: Entry | None) -> bool:
    return pairer is not None and bool(pairer.attributes.get("needs_scores", True))


def _format(data: Any) -> str:
    name = _get(data, "data", "format")
    return f"data of the format '{name}'" if name else f"the data ({_get(data, 'data', 'path')})"


def _gives(data: Any, what: str) -> bool | None:
    """Whether the data gives `responses`, or may give `scores`; None where only reading it whole can tell."""
    entry = _entry(registry.formats, {"name": _get(data, "data", "format")})
    if entry is not None:
        tells = entry.attributes.get("tells")
    else:
        tells = "prompts" if _only_prompts(_get(data, "data", "path")) else None
    without = ("prompts",) if what == "responses" else ("prompts", "responses")
    return None if tells is None else tells not in without


def _only_prompts(path: Any) -> bool:
    """Whether the first row of a local JSON Lines file has a prompt and nothing that a format reads as a response."""
    if not isinstance(path, str) or not path.endswith((".jsonl", ".jsonl.gz")) or not os.path.isfile(path):
        return False
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
            row = json.loads(next(lines))
    except (OSError, ValueError, StopIteration):
        return False
    if not isinstance(row, dict) or any(isinstance(v, (dict, list)) for k, v in row.items() if k != "prompt"):
        return False
    formats = registry.formats.entries().values()
    answers = {c for e in formats if e.attributes.get("tells") != "prompts" for c in e.attributes.get("columns", ())}
    return "prompt" in row and not answers & (set(row) - _NEUTRAL)
