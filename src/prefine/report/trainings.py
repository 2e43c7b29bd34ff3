"""Finished trainings that no evaluation of their run is about: what their files tell, for a model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefine.report.collect import SCORES, STAGES, Run, flatten, lineage_of, read_log
from prefine.report.naming import name_runs
from prefine.report.sources import sources_of
from prefine.rundir import RunDir, StageDir

Results = dict[str, tuple[StageDir, dict[str, Any]]]


def unevaluated(folders: Sequence[Path]) -> list[Run]:
    """The trainings with a model that their own run has not evaluated, in the order of training; `evaluated` and
    `groups` are empty."""
    found = []
    for folder in folders:
        run = RunDir(folder)
        results = {r.key: (r, r.manifest()) for stage in STAGES for r in run.results(stage)}
        seen = {
            made["inputs"].get("train")
            for place, made in results.values()
            if made.get("content") == "scores" and (place.path / SCORES).exists()
        }
        found += [
            _training(run, place, results)
            for key, (place, _) in results.items()
            if place.stage == "train" and key not in seen and (place.path / "model").is_dir()
        ]
    name_runs(found)
    return found


def _training(run: RunDir, place: StageDir, results: Results) -> Run:
    train = results[place.key][1]
    name = place.path.name.rpartition("-")[0]
    settings: dict[str, Any] = {}
    behind = lineage_of(place.key, results)
    for key in behind:
        settings |= flatten(results[key][1].get("settings") or {}, "" if key == place.key else results[key][0].stage)
    return Run(
        label=name,
        method=name,
        folder=run.path.name,
        key=place.key,
        seed=train.get("seed", settings.get("train.seed")),
        train=train,
        evaluated={},
        scores={"start": train.get("start")},
        settings=settings,
        lineage=behind,
        log=read_log(place),
        model=place.path / "model",
        sources=sources_of([results[key] for key in behind]),
    )
