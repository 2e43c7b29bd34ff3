"""What the runs of a page are called: labels that tell them apart, methods that seeds share, what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prefine.report.phrases import listed
from prefine.report.text import model_name

if TYPE_CHECKING:
    from prefine.report.collect import Run


def name_runs(runs: list[Run]) -> None:
    """Labels that tell the runs apart. Runs that differ in nothing but the seed are one method.

    Runs of one name with other settings, or with one seed in several directories, are different methods.
    """
    for run in runs:
        run.method = _without_seed(run.method, run.seed)
    for same in _grouped(runs, lambda r: r.method).values():
        differ = [k for k in differing(same) if not k.startswith("evaluate.") and not is_seed(k)]
        for run in same:
            marks = ", ".join(f"{k.removeprefix('train.')}={run.settings.get(k)}" for k in differ[:3])
            run.method = f"{run.method} ({marks})" if marks else run.method
    for same in _grouped(runs, lambda r: r.method).values():
        if len({r.seed for r in same}) < len(same) and len({r.folder for r in same}) > 1:
            for run in same:
                run.method = f"{run.folder}/{run.method}"
    for method, same in _grouped(runs, lambda r: r.method).items():
        for run in same:
            alone = sum(r.seed == run.seed for r in same) == 1
            run.label = (
                method if len(same) == 1 else f"{method}, seed {run.seed}" if alone else f"{method}, {run.key[:6]}"
            )


def _grouped(runs: list[Run], by: Callable[[Run], str]) -> dict[str, list[Run]]:
    out: dict[str, list[Run]] = {}
    for run in runs:
        out.setdefault(by(run), []).append(run)
    return out


def is_seed(key: str) -> bool:
    """Whether a setting is the seed of a stage or component."""
    return key.rpartition(".")[2] == "seed"


def _without_seed(name: str, seed: int | None) -> str:
    """`dpo` for `dpo-1` or `dpo_seed1` when 1 is the seed; any other name as it is."""
    return re.sub(rf"[-_.+ ]+(seed)?[-_. ]*{seed}$", "", name) or name if seed is not None else name


def differing(runs: Sequence[Run]) -> list[str]:
    """The settings that are not the same in all runs; one that a run lacks differs from one that is null there."""
    keys = sorted({k for r in runs for k in r.settings})
    return [
        k for k in keys if len({(k in r.settings, json.dumps(r.settings.get(k), sort_keys=True)) for r in runs}) > 1
    ]


def one_start_a_seed(runs: Sequence[Run]) -> dict[int | None, str]:
    """The start models by seed, where every seed of all methods has one of its own; else nothing."""
    seeds = {r.seed: str(r.scores.get("start")) for r in runs}
    alike = all(seeds[r.seed] == str(r.scores.get("start")) for r in runs)
    return seeds if alike and len(set(seeds.values())) == len(seeds) else {}


def notes(runs: list[Run]) -> list[str]:
    """What stands in the way of comparing the runs with each other."""
    out = []
    if len({r.scores.get("comparable") for r in runs}) > 1:
        out.append(
            "The runs were not all evaluated on the same prompts with the same sampling: compare them with care."
        )
    starts = _grouped(runs, lambda r: str(r.scores.get("start")))
    if len(starts) > 1 and (seeds := one_start_a_seed(runs)):
        parts = listed([f"{model_name(start)} (seed {seed})" for seed, start in seeds.items()])
        out.append(
            f"Every seed has a start model of its own, and a win rate is against that of the same seed: {parts}."
        )
    elif len(starts) > 1:
        parts = "; ".join(
            f"{', '.join(r.label for r in same)} from {model_name(start)}" for start, same in starts.items()
        )
        out.append(f"The runs have different start models, and a win rate is against a run's own start: {parts}.")
    return out
