"""A recipe with `variants` is several recipes in one run directory: the same but for a few keys each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from prefine.recipe import Recipe
from prefine.recipe.file import load_recipe
from prefine.recipe.paths import REFERENCE


def load_variants(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Recipe]:
    """The recipe's variants in the order of the file, each checked whole; a recipe without variants is its only one.

    Overrides of the command line come before those of a variant, so that a variant stays what its name says.
    """
    recipe = load_recipe(path, overrides)
    return [load_recipe(path, overrides, variant=name) for name in recipe.variants] or [recipe]


def settled(recipe: Recipe, find: Callable[[str, str], str]) -> Recipe:
    """The recipe with `find(variant, stage)`, a path, in place of every `variant:NAME` (stage `train`) or
    `variant:NAME/STAGE`."""

    def put(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(REFERENCE):
            name, _, stage = value.removeprefix(REFERENCE).partition("/")
            return find(name, stage or "train")
        if isinstance(value, dict):
            return {k: put(v) for k, v in value.items()}
        return [put(v) for v in value] if isinstance(value, list) else value

    values = recipe.model_dump()
    found = put(values)
    return recipe if found == values else Recipe.model_validate(found)
