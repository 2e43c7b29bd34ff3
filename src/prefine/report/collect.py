"""Reads what finished runs left behind: manifests, metrics, scores and scored responses. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError
from prefine.report.judges import Judges, judges_of
from prefine.report.naming import name_runs, notes
from prefine.report.people import people_of
from prefine.report.sources import sources_of
from prefine.rundir import RunDir, StageDir
from prefine.schema import Group

SCORES = "scores.json"
STAGES = ("data", "prompts", "generate", "label", "pair", "train", "evaluate")


@dataclass
class Run:
    """One trained model with its evaluation. `label` is unique on the page, `method` is shared by its seeds."""

    label: str
    method: str
    folder: str
    key: str
    seed: int | None
    train: dict[str, Any]
    evaluated: dict[str, Any]
    scores: dict[str, Any]
    settings: dict[str, Any]
    lineage: list[str]
    log: list[dict[str, Any]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    """KL from the start, and length, of what the policy sampled while it was trained, by step."""
    drawn: list[dict[str, Any]] = field(default_factory=list)
    """What it sampled."""
    groups: list[Group] = field(default_factory=list)
    model: Path | None = None
    """The folder of its weights, where something was trained."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Where the rows behind it came from, and under which licenses."""

    @property
    def objective(self) -> str | None:
        """The objective's name, from the manifest of its training."""
        block = self.train.get("objective") or self.settings.get("train.objective.name")
        return block.get("name") if isinstance(block, dict) else block

    @property
    def role(self) -> str:
        """How this model is called in its own evaluation: `model`, or `start` where nothing was trained."""
        return "model" if self.scores.get("train_key") else "start"


@dataclass
class Collection:
    """Everything that a report is made of."""

    runs: list[Run]
    counts: list[dict[str, Any]]
    versions: dict[str, str]
    recipes: dict[str, str]
    paths: list[Path]
    judges: Judges = field(default_factory=Judges)
    notes: list[str] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    """What votes in the arena say, by mode."""

    @property
    def methods(self) -> dict[str, list[Run]]:
        """The runs by method, in the order they were trained; the seeds of a method in their order."""
        out: dict[str, list[Run]] = {}
        for run in self.runs:
            out.setdefault(run.method, []).append(run)
        return {m: sorted(runs, key=lambda r: (r.seed is None, r.seed)) for m, runs in out.items()}


def collect(runs: RunDir | Path | Sequence[RunDir | Path]) -> Collection:
    """Gather the evaluated models of one run directory or several.

    Of several evaluations of one model the newest counts. Row counts are those of the stages that led to the models.
    """
    given = [runs] if isinstance(runs, (RunDir, Path)) else list(runs)
    folders = [r if isinstance(r, RunDir) else RunDir(r) for r in given]
    found: list[Run] = []
    counts: list[dict[str, Any]] = []
    recipes: dict[str, str] = {}
    judges = Judges()
    for folder in folders:
        if not folder.path.is_dir():
            raise PrefineError(f"there is no run directory {folder.path}")
        results = _results(folder)
        here = _runs(folder, results)
        found += here
        counts += _counts(folder, results, here)
        judges.add(judges_of(folder.path, [results[k][1] for k in _behind(here)]))
        for file in sorted(folder.path.glob("recipe*.yaml")):
            recipes[str(file)] = file.read_text()
    if not found:
        names = ", ".join(str(f.path) for f in folders)
        raise PrefineError(f"{names} has no finished evaluation; run 'prefine evaluate' first")
    name_runs(found)
    versions = {k: v for run in found for k, v in (run.train.get("versions") or run.evaluated["versions"]).items()}
    return Collection(
        found, counts, versions, recipes, [f.path for f in folders], judges, notes(found), people_of(folders)
    )


def _results(folder: RunDir) -> dict[str, tuple[StageDir, dict[str, Any]]]:
    """Every finished result of a run directory by its key, in the order of the stages."""
    return {r.key: (r, r.manifest()) for stage in STAGES for r in folder.results(stage)}


def _runs(folder: RunDir, results: dict[str, tuple[StageDir, dict[str, Any]]]) -> list[Run]:
    """The newest evaluation of each trained model, in the order of training."""
    newest: dict[str, Run] = {}
    for result, manifest in results.values():
        if manifest.get("content") != "scores" or not (result.path / SCORES).exists():
            continue
        scores = json.loads((result.path / SCORES).read_text())
        key = scores.get("train_key") or ""
        place, train = results.get(key, (None, {}))
        lineage = lineage_of(result.key, results)
        settings: dict[str, Any] = {}
        for other in lineage:
            stage, made = results[other][0].stage, results[other][1].get("settings") or {}
            settings |= flatten(made, "" if stage == "train" else stage)
        newest[key] = Run(
            label=scores["name"],
            method=scores["name"],
            folder=folder.path.name,
            key=key,
            seed=train.get("seed", settings.get("train.seed")),
            train=train,
            evaluated=manifest,
            scores=scores,
            settings=settings,
            lineage=lineage,
            log=read_log(place),
            drift=read_rows(place, "kl.jsonl"),
            drawn=read_rows(place, "samples.jsonl"),
            groups=list(result.groups()),
            model=place.path / "model" if place and (place.path / "model").is_dir() else None,
            sources=sources_of([results[k] for k in lineage]),
        )
    return sorted(newest.values(), key=lambda r: (r.train.get("created", ""), r.label))


def lineage_of(key: str, results: dict[str, tuple[StageDir, dict[str, Any]]]) -> list[str]:
    """The keys of a result and of all that it was made from, in the order of the stages."""
    seen, queue = {key}, [key]
    while queue:
        for other in (results[queue.pop()][1].get("inputs") or {}).values():
            if other in results and other not in seen:
                seen.add(other)
                queue.append(other)
    return [k for k in results if k in seen]


def read_log(place: StageDir | None) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; values that are not finite numbers are left out of a row."""
    rows = read_rows(place, "metrics.jsonl")
    return [{k: v for k, v in r.items() if isinstance(v, (int, float)) and math.isfinite(v)} for r in rows]


def read_rows(place: StageDir | None, name: str) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line; none where there is no such file."""
    path = place.path / name if place else None
    if path is None or not path.exists():
        return []
    return [json.loads(row) for row in path.read_text().splitlines() if row.strip()]


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys below `prefix`."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(item, dict) and item:
            out |= flatten(item, name)
        else:
            out[name] = item
    return out


def _counts(
    folder: RunDir, results: dict[str, tuple[StageDir, dict[str, Any]]], runs: Iterable[Run]
) -> list[dict[str, Any]]:
    """Row counts of the stages that the runs descend from."""
    wanted = set(_behind(runs))
    return [
        _count(folder, result.stage, result, manifest)
        for key, (result, manifest) in results.items()
        if key in wanted and manifest.get("counts")
    ]


def _behind(runs: Iterable[Run]) -> list[str]:
    """The keys of everything that the runs were made from, each once."""
    return list(dict.fromkeys(key for run in runs for key in run.lineage))


def _count(folder: RunDir, stage: str, result: StageDir, manifest: dict[str, Any]) -> dict[str, Any]:
    counts = manifest["counts"]
    return {
        "run": folder.path.name,
        "stage": stage,
        "label": result.path.name,
        "rows_in": counts["rows_in"],
        "rows_out": counts["rows_out"],
        "dropped": counts.get("dropped") or {},
        "extra": counts.get("extra") or {},
        "seconds": manifest.get("seconds"),
        "steps": [
            {k: step.get(k) for k in ("step", "rows_in", "rows_out", "dropped")}
            for step in (manifest.get("steps") or [] if stage == "data" else [])
        ],
    }
