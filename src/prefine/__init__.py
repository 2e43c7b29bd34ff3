"""prefine: align small language models with preferences, from prompts to an evaluated model and a report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from prefine.errors import PrefineError
    from prefine.recipe import Recipe
    from prefine.recipe.file import load_recipe
    from prefine.rundir import RunDir
    from prefine.schema import Candidate, Example, Group

    __version__: str

__all__ = ["Candidate", "Example", "Group", "PrefineError", "Recipe", "__version__", "load_recipe", "run"]

_HOMES = {
    "Candidate": "prefine.schema",
    "Example": "prefine.schema",
    "Group": "prefine.schema",
    "PrefineError": "prefine.errors",
    "Recipe": "prefine.recipe",
    "load_recipe": "prefine.recipe.file",
}
"""Where the public names live; they are imported when first used, so that `import prefine` is quick."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("prefine")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'prefine' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


def run(path: str | Path, *overrides: str) -> RunDir:
    """Run the recipe in the file `path`, with overrides such as `"train.learning_rate=1e-6"`; returns its directory.

    What is finished already is skipped. A mistake in the recipe or the data raises `PrefineError`.
    """
    from prefine.pipeline import run_recipes
    from prefine.progress import Progress
    from prefine.recipe.variants import load_variants

    return run_recipes(load_variants(path, overrides), progress=Progress())
