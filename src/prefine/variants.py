"""A recipe with `variants` is several recipes in one run directory: the same but for a few keys each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from prefine.recipe import Recipe
from prefine.recipe_file import load_recipe


def load_variants(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Recipe]:
    """The recipe's variants in the order of the file, each checked whole; a recipe without variants is its only one.

    Overrides of the command line come before those of a variant, so that a variant stays what its name says.
    """
    recipe = load_recipe(path, overrides)
    if not recipe.variants:
        return [recipe]
    out = []
    for name, changes in recipe.variants.items():
        own = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        out.append(load_recipe(path, [*overrides, *own, "variants={}", f"variant={json.dumps(name)}"]))
    return out
