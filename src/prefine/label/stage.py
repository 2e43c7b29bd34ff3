"""The label stage: groups in, the same groups with the scores of every labeler out."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from prefine.conditions import unasked
from prefine.errors import PrefineError
from prefine.label.base import Labeler, Labels, summary
from prefine.models.held import release
from prefine.progress import Progress, Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.rundir import Counts, StageDir
from prefine.schema import Group

PART = 256
"""Prompts between two durable parts."""


def run(recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress) -> tuple[Counts, dict[str, Any]]:
    """Write every group of `source` with new scores at the end of each response's list; no group is dropped."""
    blocks = recipe.label.labelers if recipe.label else []
    made: list[Labeler] = [labelers.build(block) for block in blocks]
    _check_names(made)
    groups = sorted(source.groups(), key=lambda g: g.id)
    if not any(g.candidates for g in groups):
        raise PrefineError("label: no prompt has a response; add a generate section, or data with responses")
    try:
        facts = {labeler.name: dict(labeler.prepare(recipe)) for labeler in made}
        _announce(made, facts, groups, progress)
        seconds = _label_all(made, groups, folder, progress)
        finished = list(folder.groups())
        for labeler in made:
            facts[labeler.name] |= {
                **summary(labeler.name, finished),
                **labeler.facts(finished),
                "seconds": round(seconds[labeler.name], 3),
            }
            progress.line(_line(labeler.name, facts[labeler.name]))
    finally:
        for labeler in made:
            labeler.close()
        release()
    return _balance(len(groups), finished), {"labelers": facts}


def _check_names(made: list[Labeler]) -> None:
    for name, n in Counter(labeler.name for labeler in made).items():
        if n > 1:
            raise PrefineError(f"label.labelers: {n} labelers are called '{name}'; tell them apart with as_name")


def _announce(made: list[Labeler], facts: dict[str, Any], groups: list[Group], progress: Progress) -> None:
    """Say how many calls each judge takes, before the first one."""
    for labeler in made:
        calls = labeler.calls(groups)
        if calls is not None:
            facts[labeler.name]["calls_planned"] = calls
            responses = sum(len(g.candidates) for g in groups)
            progress.line(f"  {labeler.name}: {calls:,} calls for {responses:,} responses, second tries aside")


def _label_all(made: list[Labeler], groups: list[Group], folder: StageDir, progress: Progress) -> dict[str, float]:
    """Label what no earlier process has written; the seconds that each labeler took."""
    written = {g.id for g in folder.groups()}
    seconds = {labeler.name: 0.0 for labeler in made}
    total = sum(len(g.candidates) for g in groups) * len(made)
    done = sum(len(g.candidates) for g in groups if g.id in written) * len(made)
    with progress.task("labeling", total=total, unit="scores", done=done) as step:
        for start in range(0, len(groups), PART):
            part = [g for g in groups[start : start + PART] if g.id not in written]
            if not part:
                continue
            new = []
            for labeler in made:
                began = time.monotonic()
                new.append(_checked(labeler, part, step))
                seconds[labeler.name] += time.monotonic() - began
            for labels in new:
                for group, found in zip(part, labels, strict=True):
                    group.comparisons.extend(found.comparisons)
                    for candidate, scores in zip(group.candidates, found.scores, strict=True):
                        candidate.scores.extend(scores)
            folder.write_part(part)
    return seconds


def _checked(labeler: Labeler, part: list[Group], step: Step) -> list[Labels]:
    # Who asked for which rating must not sway the one who gives it.
    labels = labeler.label([unasked(group) for group in part], step)
    if [len(found.scores) for found in labels] != [len(g.candidates) for g in part]:
        raise PrefineError(f"labeler '{labeler.name}' did not return one list of scores for each response")
    return labels


def _line(name: str, facts: dict[str, Any]) -> str:
    """What a reader should see of a labeler's facts, in one line."""
    parts = [f"  {name}: {facts['scored']} of {facts['responses']} responses scored"]
    words = {"mean": "mean", "sd": "sd", "position_bias": "position bias", "flip_rate": "flip rate"}
    parts += [f"{text} {facts[key]:.3f}" for key, text in words.items() if facts.get(key) is not None]
    parts += [f"{n} {status}" for status, n in facts["missing"].items()]
    return ", ".join(parts)


def _balance(rows: int, finished: list[Group]) -> Counts:
    counts = Counts(rows)
    counts.rows_out = len(finished)
    for group in finished:
        counts.note("responses", len(group.candidates))
        for candidate in group.candidates:
            for score in candidate.scores:
                if score.value is None:
                    counts.note(f"no_score:{score.scorer}:{score.status}")
    return counts
