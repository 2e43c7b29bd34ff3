"""`prefine evaluate`: the stage for a recipe, and scores of judgments that exist already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from prefine.cli import stages

STAGE = "recipe"


class StageOrCommand(TyperGroup):
    """A first word that is no command is a recipe: `prefine evaluate r.yaml` is `prefine evaluate recipe r.yaml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the stage's name before arguments that name no command and do not ask for help."""
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = [STAGE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=StageOrCommand,
    subcommand_metavar="RECIPE [KEY=VALUE]... | COMMAND [ARGS]...",
    help="Compare the trained model of a recipe with its start and with other runs, or score judgments.",
)
app.command(STAGE)(stages.evaluate)


@app.callback()
def options() -> None:
    """Compare the trained model of a recipe with its start and with other runs, or score judgments.

    Without the name of a command the first word is a recipe: prefine evaluate RECIPE.
    """


@app.command()
def judgments(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The tool's own file of judgments, or a folder of them.")],
    benchmark: Annotated[
        Literal["alpaca_eval", "arena_hard", "mt_bench"], typer.Option(help="Whose judgments these are.")
    ],
    c: Annotated[
        float | None,
        typer.Option("--C", min=1e-9, help="Pin C of the length-controlled fit; by default cross-validation finds it."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with df_gamed.csv and instruction_difficulty.csv; by default that of FILE or above it."
        ),
    ] = None,
    index: Annotated[
        Literal["instruction", "row"],
        typer.Option(help="What numbers an AlpacaEval instruction; the published leaderboard took the row's position."),
    ] = "instruction",
    instructions: Annotated[
        Path | None, typer.Option(help="A complete AlpacaEval output file, whose order numbers the instructions.")
    ] = None,
    regularize: Annotated[
        bool, typer.Option(help="Tie the length-controlled fit to the baseline, as published.")
    ] = True,
    baseline: Annotated[
        str | None, typer.Option(help="The model that the others are compared with; Arena-Hard: the games' baseline.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="Arena-Hard's model answers, a file or folder: adds style-controlled scores.")
    ] = None,
    human: Annotated[Path | None, typer.Option(help="MT-Bench: votes of people, to report agreement with.")] = None,
    questions: Annotated[
        Path | None, typer.Option(help="MT-Bench: questions with their categories, where they are not the official 80.")
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(min=0, help="Refits or rounds for intervals; 0 for none. By default the benchmark's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all resampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with more digits and counts.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Score judgments of AlpacaEval, Arena-Hard or MT-Bench without calling a judge."""
    from prefine.cli.scores import show_scores
    from prefine.evaluate.benchmarks.judgments import score
    from prefine.evaluate.benchmarks.results import Options

    chosen = Options(
        c=c,
        data=data,
        index=index,
        instructions=instructions,
        regularize=regularize,
        baseline=baseline,
        answers=answers,
        human=human,
        questions=questions,
        resamples=resamples,
        seed=seed,
    )
    scored = score(Path(file), benchmark, chosen)
    if as_json:
        typer.echo(json.dumps(scored.as_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show_scores(scored)
