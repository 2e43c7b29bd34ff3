"""Recipes as files: reading with every mistake at once and where it stands, overrides, writing. Imports no torch.

Relative paths of data, models and finished runs are looked up in the current directory first, and beside the recipe
if they are not there.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

from prefine import durable
from prefine.errors import PrefineError, nearest
from prefine.recipe import COMPONENTS, STAGES, Recipe, Section
from prefine.recipe import text as recipe_text
from prefine.recipe.checks import cross_checks
from prefine.recipe.overrides import apply_override, apply_variant
from prefine.recipe.paths import path_checks
from prefine.recipe.text import Document, Problem, at, matches
from prefine.type_words import mismatch

_LIMITS = {
    "greater_than": "greater than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


class RecipeError(PrefineError):
    """Everything that is wrong with a recipe, one mistake per line, in the order of the file."""

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        unique = {(p.path, p.message): p for p in problems}.values()
        self.problems = sorted(unique, key=lambda p: (p.line is None, p.line or 0))
        super().__init__("\n".join(_render(where, p) for p in self.problems))


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = (), *, variant: str | None = None) -> Recipe:
    """The recipe in a YAML file, with `section.key=value` overrides applied, checked whole.

    `variant` names one of the file's `variants`, whose keys are set after the overrides. Raises `RecipeError` with
    every mistake as `file.yaml:LINE: key: what is wrong; how to mend it` (`(override)` in place of the line for
    overrides), and `PrefineError` where the file cannot be read at all.
    """
    file = Path(path)
    document = recipe_text.parse(_read(file), str(path))
    for text in overrides:
        apply_override(document, text)
    if not isinstance(document.data, dict):
        document.add((), "a recipe is a mapping (name: ..., model: ..., data: ...); this file holds none")
        raise RecipeError(str(path), document.problems)
    _open_empty_sections(document)
    if variant is not None:
        apply_variant(document, variant)
    folder = file.resolve().parent
    path_checks(document, folder)
    completed = _complete_components(document)
    recipe = _validate(document, completed)
    cross_checks(document)
    if document.problems or recipe is None:
        raise RecipeError(str(path), document.problems)
    return recipe


def save_recipe(recipe: Recipe, path: str | os.PathLike[str]) -> None:
    """Write the recipe as YAML, atomically; `load_recipe` reads it back as an equal recipe."""
    durable.write_bytes(Path(path), dump_recipe(recipe).encode())


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML text, with every setting it did not leave absent."""
    return recipe_text.dump(_plain(recipe))


def _plain(section: Section) -> dict[str, Any]:
    """The section's values without the absent ones; nulls inside component blocks are kept, since they are settings."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    return {k: _plain(v) if isinstance(v, Section) else v for k, v in values.items() if v is not None}


def _render(where: str, problem: Problem) -> str:
    place = f"{where} (override)" if problem.line is None else f"{where}:{problem.line}"
    key = ".".join(map(str, problem.path))
    return f"{place}: {key}: {problem.message}" if key else f"{place}: {problem.message}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        beside = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        hint = nearest(file.name, beside).replace("valid names:", "recipes there:")
        raise PrefineError(f"there is no recipe {file}{hint}") from error
    except IsADirectoryError as error:
        inside = ", ".join(sorted(p.name for p in file.glob("*.y*ml"))) or "none"
        raise PrefineError(f"{file} is a folder, not a recipe; recipes in it: {inside}") from error
    except UnicodeDecodeError as error:
        raise PrefineError(f"{file} is not text in UTF-8 (byte {error.start}); is it a recipe?") from error
    except OSError as error:
        raise PrefineError(f"{file} cannot be read: {error.strerror}") from error


def _open_empty_sections(document: Document) -> None:
    """A stage named without any key (`report:`) has all its defaults; `report: null` means that there is none."""
    for stage in STAGES:
        if (stage,) in document.empty and document.data.get(stage) is None:
            document.data[stage] = {}


def _complete_components(document: Document) -> dict[str, Any]:
    """A copy of the data in which every component block is checked and completed with its defaults."""
    data = document.data
    for pattern, registry in COMPONENTS.items():
        for path in matches(data, pattern):
            block = at(data, *path)
            if not isinstance(block, dict):
                continue
            settings, problems = registry.inspect(block)
            for problem in problems:
                document.add((*path, problem.key) if problem.key in block else path, str(problem))
            if not problems:
                data = _replaced(data, path, settings)
    return data


def _validate(document: Document, data: dict[str, Any]) -> Recipe | None:
    try:
        return Recipe.model_validate(data)
    except pydantic.ValidationError as error:
        told = {problem.path for problem in document.problems}
        for detail in error.errors():
            path, message = _explain(detail, data)
            if path not in told:
                told.add(path)
                document.add(path, message)
        return None


def _explain(detail: Any, data: dict[str, Any]) -> tuple[recipe_text.Path, str]:
    """The path of a validation error in the file, and its message in a reader's words."""
    path, section, annotation = _locate(detail["loc"])
    kind, value = detail["type"], at(data, *path)
    if kind == "extra_forbidden":
        return path, f"unknown key{nearest(str(path[-1]), section.model_fields)}"
    if kind == "missing":
        parent = ".".join(map(str, path[:-1])) or "a recipe"
        return path[:-1], f"the key '{path[-1]}' is missing; {parent} needs it"
    if kind == "string_pattern_mismatch":
        return path, f"must be letters, digits, '.', '_' and '-', beginning with a letter or digit, not {value!r}"
    if kind in _LIMITS:
        return path, f"must be {_LIMITS[kind]} {next(iter(detail['ctx'].values()))}, not {value}"
    if kind == "too_short":
        return path, "must have at least one item"
    return path, mismatch(annotation, value)


def _locate(loc: tuple[str | int, ...]) -> tuple[recipe_text.Path, type[Section], Any]:
    """The part of an error's location that is a path of the file, its section, and the type wanted there."""
    section: type[Section] = Recipe
    inside: type[Section] | None = Recipe
    path: tuple[str | int, ...] = ()
    annotation: Any = Recipe
    for step in loc:
        if inside is not None:
            section, field = inside, inside.model_fields.get(str(step))
            annotation = None if field is None else field.annotation
            inside = next((t for t in (annotation, *typing.get_args(annotation)) if _is_section(t)), None)
        elif typing.get_origin(annotation) is list and isinstance(step, int):
            annotation = typing.get_args(annotation)[0]
        else:
            break
        path = (*path, step)
    return path, section, annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _replaced(data: Any, path: recipe_text.Path, value: Any) -> Any:
    """`data` with the value at `path` replaced; what is not on the path is shared."""
    if not path:
        return value
    copy: Any = list(data) if isinstance(data, list) else dict(data)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], value)
    return copy
