"""`prefine run` and the commands of the single stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe (YAML), see docs/recipes.md.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change, for example train.learning_rate=1e-6."),
]
Resume = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        help="auto goes on with an interrupted training of the same settings; always (or --resume alone) also refuses "
        "to start beside one of other settings; never starts anew."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check the recipe and print it with all its settings.")]

_running: list[Path] = []


def current_run() -> Path | None:
    """The directory of the run in progress, if there is one."""
    return _running[-1] if _running else None


def note_run(path: Path) -> None:
    """Say which directory is being written to, for the log of an unforeseen error."""
    _running.append(path)


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    resume: Resume = "auto",
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Run all stages of a recipe; what is finished already is skipped."""
    if dry_run:
        _print_recipe(recipe, overrides)
    else:
        run_stage(recipe, overrides, None, resume)


def prompts(recipe: RecipeFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Write new prompts from seeds (stage `prompts` alone)."""
    run_stage(recipe, overrides, "prompts")


def generate(recipe: RecipeFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Sample responses to the prompts (stage `generate` alone)."""
    run_stage(recipe, overrides, "generate")


def label(recipe: RecipeFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Score the responses (stage `label` alone)."""
    run_stage(recipe, overrides, "label")


def pair(recipe: RecipeFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Make pairs or lists of the scored responses (stage `pair` alone)."""
    run_stage(recipe, overrides, "pair")


def reference(recipe: RecipeFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Compute the reference log-probs of a recipe's training by themselves; the training then reads them."""
    from prefine.pipeline import compute_reference, main_process
    from prefine.progress import Progress
    from prefine.recipe.variants import load_variants

    recipes = load_variants(recipe, overrides or [])
    note_run(recipes[0].run_path)
    folder = compute_reference(recipes, progress=Progress() if main_process() else Progress.silent())
    if main_process():
        typer.echo(f"done: {folder}")


def train(recipe: RecipeFile, overrides: Overrides = None, resume: Resume = "auto", debug: Debug = False) -> None:
    """Train the model on pairs or lists (stage `train` alone)."""
    run_stage(recipe, overrides, "train", resume)


def evaluate(recipe: RecipeFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Compare the trained model with its start and with other runs (stage `evaluate` alone)."""
    run_stage(recipe, overrides, "evaluate")


COMMANDS = (prompts, generate, label, pair, reference, train)
_LAST = ("evaluate", "report")
"""Stages that no later one reads: they may be asked for by name with their default settings."""


def run_stage(path: str, overrides: list[str] | None, stage: str | None, resume: str = "auto") -> None:
    """Run all stages of the recipe, or one of them, and show the results where there is a report."""
    from prefine.cli.results import show_results
    from prefine.errors import PrefineError
    from prefine.progress import Progress
    from prefine.recipe.variants import load_variants

    changes = list(overrides or [])
    recipes = load_variants(path, changes)
    if stage in _LAST and getattr(recipes[0], stage) is None:
        recipes = load_variants(path, [*changes, f"{stage}={{}}"])
    # Without a `pair` section the stage still runs: it takes the comparisons that came with the data.
    implied = stage == "pair" and recipes[0].train is not None
    if stage is not None and getattr(recipes[0], stage) is None and not implied:
        has = ", ".join(recipes[0].stages()) or "none"
        raise PrefineError(f"{path}: the recipe has no section '{stage}' (its stages: {has})")
    note_run(recipes[0].run_path)
    from prefine.pipeline import main_process, run_recipes

    run = run_recipes(recipes, stages=None if stage is None else [stage], progress=Progress(), resume=resume)
    if main_process():
        if recipes[-1].report is not None and stage in (None, "report"):
            show_results(run.path)
        typer.echo(f"done: {recipes[0].run_path}")


def _print_recipe(path: str, overrides: list[str] | None) -> None:
    from prefine.estimate import estimate
    from prefine.recipe.file import dump_recipe, load_recipe
    from prefine.recipe.variants import load_variants

    recipe = load_recipe(path, overrides or [])
    typer.echo(f"# {path}: data, {', '.join(recipe.stages())}\n{dump_recipe(recipe)}", nl=False)
    recipes = load_variants(path, overrides or [])
    lines = estimate(recipes)
    if any(r.train is not None for r in recipes):
        from prefine.models.bfloat16 import slow_bf16

        lines += dict.fromkeys(f"train: {slow}" for r in recipes if r.train is not None and (slow := slow_bf16(r)))
    for line in lines:
        typer.echo(f"# {line}")
