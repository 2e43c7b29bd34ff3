"""Models that answered the same prompts, compared: win rates over all prompts and by family, differences by metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefine.evaluate.paired import DETECTABLE, against_baseline, holm, sign_flip_p
from prefine.evaluate.rows import stored_answers
from prefine.evaluate.samples import Answers
from prefine.evaluate.statistics import preference, win_rate
from prefine.rundir import RunDir
from prefine.schema import Group

MODES = ("greedy", "sample")


def compare(ours: Answers, theirs: Answers, groups: list[Group], scorer: str, *, seed: int = 0) -> dict[str, Any]:
    """How often our responses score higher than theirs, with a paired bootstrap over prompts; ties half.

    All pairs of our and their responses to a prompt are compared: one pair for greedy answers, n x n for samples.
    `p_value` is that of one half, by random signs over prompts; `detectable` is the distance from one half that as
    many prompts would show four times in five.
    """
    ids = [g.id for g in groups]
    shares = [preference(a, b) for a, b in zip(ours.scores(ids, scorer), theirs.scores(ids, scorer), strict=True)]
    out = {"against": theirs.name, **_win_rate(ours, theirs, groups, scorer, seed)}
    out["p_value"] = sign_flip_p([s[0] - 0.5 for s in shares if s is not None], seed=seed)
    error = out["standard_error"]
    out["detectable"] = None if error is None else DETECTABLE * error
    families = sorted({family(g) for g in groups})
    if len(families) > 1:
        members = {f: [g for g in groups if family(g) == f] for f in families}
        out["families"] = {f: _win_rate(ours, theirs, m, scorer, seed) for f, m in members.items()}
    return out


def _win_rate(ours: Answers, theirs: Answers, groups: list[Group], scorer: str, seed: int) -> dict[str, Any]:
    ids = [g.id for g in groups]
    return win_rate(ours.scores(ids, scorer), theirs.scores(ids, scorer), seed=seed).as_dict()


def adjust(wins: Sequence[dict[str, Any]]) -> None:
    """Give every comparison with a p-value its `adjusted` one: Holm's, over all comparisons of the same mode."""
    for mode in MODES:
        tested = [w for w in wins if w["mode"] == mode and w["p_value"] is not None]
        for win, p in zip(tested, holm([w["p_value"] for w in tested]), strict=True):
            win["adjusted"] = p


def differences(
    models: Mapping[str, Mapping[str, Answers]],
    baseline: str,
    groups: list[Group],
    metrics: Iterable[str],
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """By mode and metric, how far each model lies from the baseline on the same prompts: means, interval, tests.

    `models` are answers by model and mode, the baseline among them; a prompt counts with the mean over its responses.
    p-values are adjusted (Holm) over the models of a mode and metric.
    """
    out = []
    for mode in (m for m in MODES if m in models[baseline]):
        for metric in metrics:
            values = {name: _means(modes[mode], groups, metric) for name, modes in models.items() if mode in modes}
            theirs = values.pop(baseline)
            for name, found in against_baseline(values, theirs, seed=seed).items():
                facts = {"mode": mode, "metric": metric, "model": name, "against": baseline}
                out += [{**facts, **found.as_dict()}] if found.value is not None else []
    return out


def _means(answers: Answers, groups: list[Group], metric: str) -> list[float | None]:
    """For each prompt the mean over its responses that have a value."""
    rows = answers.scores([g.id for g in groups], metric)
    kept = [[v for v in row if v is not None] for row in rows]
    return [sum(row) / len(row) if row else None for row in kept]


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
