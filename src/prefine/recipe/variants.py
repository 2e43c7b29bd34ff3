"""A recipe with `variants` is several recipes in one run directory: the same but for a few keys each."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prefine.recipe import Recipe
from prefine.recipe.file import load_recipe


def load_variants(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Recipe]:
    """The recipe's variants in the order of the file, each checked whole; a recipe without variants is its only one.

    Overrides of the command line come before those of a variant, so that a variant stays what its name says.
    """
    recipe = load_recipe(path, overrides)
    return [load_recipe(path, overrides, variant=name) for name in recipe.variants] or [recipe]
