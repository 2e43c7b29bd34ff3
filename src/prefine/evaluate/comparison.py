"""Win rates between models that answered the same prompts, over all prompts and by family."""

from __future__ import annotations

from typing import Any

from prefine.evaluate.rows import stored_answers
from prefine.evaluate.samples import Answers
from prefine.evaluate.statistics import win_rate
from prefine.rundir import RunDir
from prefine.schema import Group

MODES = ("greedy", "sample")


def compare(ours: Answers, theirs: Answers, groups: list[Group], scorer: str, *, seed: int = 0) -> dict[str, Any]:
    """How often our responses score higher than theirs, with a paired bootstrap over prompts; ties half.

    All pairs of our and their responses to a prompt are compared: one pair for greedy answers, n x n for samples.
    """
    out = {"against": theirs.name, **_win_rate(ours, theirs, groups, scorer, seed)}
    families = sorted({family(g) for g in groups})
    if len(families) > 1:
        members = {f: [g for g in groups if family(g) == f] for f in families}
        out["families"] = {f: _win_rate(ours, theirs, m, scorer, seed) for f, m in members.items()}
    return out


def _win_rate(ours: Answers, theirs: Answers, groups: list[Group], scorer: str, seed: int) -> dict[str, Any]:
    ids = [g.id for g in groups]
    return win_rate(ours.scores(ids, scorer), theirs.scores(ids, scorer), seed=seed).as_dict()


def family(group: Group) -> str:
    """The kind of task a prompt belongs to: its `task_meta` entry `family`, or else its task."""
    return group.task_meta.get("family") or group.task


def siblings(run: RunDir, comparable: str, train_key: str | None) -> dict[str, dict[str, Answers]]:
    """Scored answers of the other trained models of this directory, by training key and mode.

    Only evaluations with the same prompts, sampling and metrics count, which `comparable` is the digest of.
    """
    found: dict[str, dict[str, Answers]] = {}
    for result in run.results("evaluate"):
        facts = result.manifest().get("evaluation")
        if not facts or facts["comparable"] != comparable or facts["train_key"] in (None, train_key):
            continue
        groups = list(result.groups())
        found[facts["train_key"]] = {m: stored_answers(groups, "model", m) for m in MODES}
    return found
