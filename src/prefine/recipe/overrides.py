"""Setting single values of a recipe that was read: overrides of the command line, and the keys of a variant."""

from __future__ import annotations

import copy
from typing import Any

from prefine.errors import PrefineError, nearest
from prefine.recipe.text import Document, Path, Problem, parse_value


def apply_override(document: Document, text: str) -> None:
    """Set what `section.key=value` says; sections on the way are made where there are none."""
    dotted, equals, value_text = text.partition("=")
    if not equals or not dotted.strip():
        raise PrefineError(f"'{text}' is not an override; write key=value, as in train.learning_rate=1e-6")
    if document.data is None:
        document.data = {}
    place = _place(document, dotted.strip(), None)
    if place is not None:
        holder, path = place
        _assign(holder, path, parse_value(value_text, path, document))


def apply_variant(document: Document, name: str) -> None:
    """Set the keys of the variant `name`, whose mistakes then have the lines of the variant."""
    variants = document.data.get("variants")
    changes = variants.get(name) if isinstance(variants, dict) else None
    if not isinstance(changes, dict):
        raise PrefineError(f"there is no variant '{name}'{nearest(name, variants or [])}")
    lines = {key: document.line(("variants", name, key)) for key in changes}
    document.earlier = list(variants)[: list(variants).index(name)]
    document.data.update(variants={}, variant=name)
    for key, value in changes.items():
        place = _place(document, str(key), lines[key])
        if place is not None:
            _assign(*place, copy.deepcopy(value))


def _place(document: Document, dotted: str, line: int | None) -> tuple[Any, Path] | None:
    """The list or mapping that holds the key, made ready for a new value from `line`, and the key's path."""
    keys = dotted.split(".")
    target: Any = document.data
    path: Path = ()
    for i, key in enumerate(keys):
        step = _step(target, key)
        if step is None:
            kind = f"a list of {len(target)}" if isinstance(target, list) else "a single value"
            message = f"there is no '{key}' here: {'.'.join(map(str, path)) or 'the recipe'} is {kind}"
            document.problems.append(Problem((*path, key), line, message))
            return None
        path = (*path, step)
        if i + 1 < len(keys):
            target = _enter(target, path, document, line, [] if keys[i + 1].isdecimal() else {})
    for known in [p for p in document.lines if p[: len(path)] == path]:
        del document.lines[known]
    document.problems = [p for p in document.problems if p.path[: len(path)] != path]
    document.lines[path] = line
    return target, path


def _step(target: Any, key: str) -> str | int | None:
    """The key or index that `key` means in `target`; the index after the last one appends."""
    if isinstance(target, dict):
        return key
    if isinstance(target, list) and key.isdecimal() and int(key) <= len(target):
        return int(key)
    return None


def _enter(target: Any, path: Path, document: Document, line: int | None, empty: Any) -> Any:
    """The value at the last step of `path`, made of `empty` where there is none."""
    step = path[-1]
    value = target[int(step)] if isinstance(target, list) and step != len(target) else None
    if isinstance(target, dict):
        value = target.get(step)
    if value is None:
        document.lines[path] = line
        _assign(target, path, empty)
        return empty
    return value


def _assign(target: Any, path: Path, value: Any) -> None:
    """Set the last step of `path` in the list or mapping that holds it; the index after the last one appends."""
    if isinstance(target, list) and path[-1] == len(target):
        target.append(value)
        return
    holder: Any = target
    holder[path[-1]] = value
