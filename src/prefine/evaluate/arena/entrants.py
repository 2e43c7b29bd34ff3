"""Whose responses meet in the arena: models of finished evaluations, named `RUN` or `RUN:VARIANT`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefine.conditions import unasked
from prefine.errors import PrefineError, nearest
from prefine.rundir import RunDir, StageDir
from prefine.schema import Candidate, Group, digest

START = "start"
"""The variant that is the model a run started from."""


@dataclass
class Entrant:
    """One model's stored responses, one to a prompt. `facts` is what a vote remembers of it: run, variant, checkpoint.

    `higher` says by metric whether more is better, as the evaluation recorded it.
    """

    name: str
    run: RunDir
    facts: dict[str, str]
    groups: dict[str, Group] = field(default_factory=dict)
    responses: dict[str, Candidate] = field(default_factory=dict)
    higher: dict[str, bool] = field(default_factory=dict)


def read_entrants(targets: Sequence[str], mode: str = "greedy") -> list[Entrant]:
    """The models that the targets name, two or more. One run alone stands for all of its models (one: and its start).

    mode: `greedy`, or `sample` for each prompt's first sample.
    """
    found: list[Entrant] = []
    for target in targets:
        run, wanted = _split(target)
        results = _newest(run)
        if wanted is None and len(targets) == 1:
            chosen = [(r, "model" if r.manifest()["evaluation"]["train_key"] else START) for r in results]
            chosen += [(results[-1], START)] if len(chosen) == 1 and chosen[0][1] == "model" else []
        else:
            chosen = [_choose(target, wanted, results)]
        found += [_entrant(run, result, role, mode) for result, role in chosen]
    if len(found) < 2:
        raise PrefineError(f"{targets[0]} has responses of one model only; name a second run to compare it with")
    _name(found)
    for entrant in found:
        if not entrant.responses:
            raise PrefineError(f"{entrant.name}: the evaluation has no responses of the mode '{mode}'")
    return found


def all_entrants(runs: Sequence[RunDir], mode: str = "greedy") -> list[Entrant]:
    """Every model of these runs that has responses of the mode, and what each run started from."""
    found = []
    for run in runs:
        results = _newest(run)
        trained = [r for r in results if r.manifest()["evaluation"]["train_key"]]
        made = [_entrant(run, r, "model", mode) for r in trained] + [_entrant(run, results[-1], START, mode)]
        found += [e for e in made if e.responses]
    _name(found)
    return found


def _split(target: str) -> tuple[RunDir, str | None]:
    """The run's directory and the variant's name, if one is given."""
    path, colon, variant = target, "", ""
    if not Path(target).is_dir() and ":" in target:
        path, colon, variant = target.rpartition(":")
    folder = Path(path)
    if not folder.is_dir():
        beside = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise PrefineError(f"there is no run {path}{nearest(folder.name, beside) if beside else ''}")
    return RunDir(folder), variant if colon else None


def _newest(run: RunDir) -> list[StageDir]:
    """The newest evaluation of each model of a run, in the order in which they were made."""
    newest: dict[str, StageDir] = {}
    for result in run.results("evaluate"):
        facts = result.manifest().get("evaluation")
        if facts is not None:
            newest.pop(facts["train_key"] or "", None)
            newest[facts["train_key"] or ""] = result
    if not newest:
        raise PrefineError(f"{run.path} has no finished evaluation; run 'prefine evaluate' first")
    return list(newest.values())


def _choose(target: str, wanted: str | None, results: Sequence[StageDir]) -> tuple[StageDir, str]:
    """The evaluation that a target means, and the role that its model has there."""
    if wanted == START:
        return results[-1], START
    named = [(r, r.manifest()["evaluation"]) for r in results]
    if wanted is None:
        fitting = named
    else:
        fitting = [(r, f) for r, f in named if wanted == f["name"]]
        fitting = fitting or [(r, f) for r, f in named if r.path.name.startswith(wanted) and f"{f['name']}-" in wanted]
    if not fitting:
        names = [f["name"] for _, f in named] + [START]
        raise PrefineError(f"{target}: the run has no variant '{wanted}'{nearest(str(wanted), names)}")
    if len(fitting) > 1:
        names = [f["name"] for _, f in fitting]
        folders = [r.path.name for r, _ in fitting]
        shown = names if len(set(names)) == len(names) else folders
        base = target if wanted is None else target.rpartition(":")[0]
        raise PrefineError(f"{target} has several models; name one, as {base}:{shown[0]}: {', '.join(shown)}")
    result, facts = fitting[0]
    return result, "model" if facts["train_key"] else START


def _entrant(run: RunDir, result: StageDir, role: str, mode: str) -> Entrant:
    groups = list(result.groups())
    manifest = result.manifest()
    found = {g.id: _response(g, role, mode) for g in groups}
    responses = {i: c for i, c in found.items() if c is not None}
    variant = START if role == START else str(manifest["evaluation"]["name"])
    facts = {
        "run": run.path.name,
        "variant": variant,
        "checkpoint": _checkpoint(run, manifest, role),
        "mode": mode,
        "temperature": next((c.generator.get("temperature", "") for c in responses.values()), ""),
    }
    made = Entrant(variant, run, {k: v for k, v in facts.items() if v})
    made.groups = {g.id: unasked(g) for g in groups}
    made.responses = responses
    scores = result.path / "scores.json"
    known: dict[str, Any] = json.loads(scores.read_text()).get("metrics", {}) if scores.exists() else {}
    made.higher = {name: bool(f.get("higher_is_better", True)) for name, f in known.items()}
    return made


def _response(group: Group, role: str, mode: str) -> Candidate | None:
    """The first response of a model to a prompt, in the rows of an evaluation."""
    rows = (c for c in group.candidates if (c.generator.get("role"), c.generator.get("mode")) == (role, mode))
    return next(rows, None)


def _checkpoint(run: RunDir, manifest: dict[str, Any], role: str) -> str:
    """A digest of the weights: of the start as its stage recorded it, of a trained model from its files' digests."""
    if role == START:
        return str(manifest["inputs"].get("model", ""))
    for result in run.results("train"):
        if result.key == manifest["evaluation"]["train_key"]:
            files = {k: v for k, v in result.manifest()["files"].items() if k.startswith("model/")}
            return digest(files) if files else ""
    return ""


def _name(entrants: Sequence[Entrant]) -> None:
    """Give each a name of its own, no longer than it takes: the variant, the run, both, or the whole path."""

    def names(make: Any) -> list[str]:
        return [make(e) for e in entrants]

    forms = (
        lambda e: e.facts["variant"],
        lambda e: e.facts["run"],
        lambda e: f"{e.facts['run']}:{e.facts['variant']}",
        lambda e: f"{e.run.path}:{e.facts['variant']}",
    )
    one_run = len({e.run.path.resolve() for e in entrants}) == 1
    for form in forms if one_run else forms[1:]:
        found = names(form)
        if len(set(found)) == len(found):
            break
    else:
        found = [f"{name} ({i})" for i, name in enumerate(names(forms[-1]), 1)]
    for entrant, name in zip(entrants, found, strict=True):
        entrant.name = name
