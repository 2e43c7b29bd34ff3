"""The numbers of a report as data: results.json, whose keys docs/results_schema.md explains."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefine.report.answer import answer
from prefine.report.cautions import warnings
from prefine.report.collapse import collapse
from prefine.report.collect import Collection, Run
from prefine.report.comparisons import comparisons, method_seeds
from prefine.report.naming import one_start_a_seed
from prefine.report.sources import merged
from prefine.report.text import model_name

SCHEMA_VERSION = 1
MODES = {"greedy": "greedy", "t1": "sample"}
"""Names in results.json and the modes they stand for; samples are drawn at `sampling.temperature`, 1 by default."""
EMPTY = {"value": None, "low": None, "high": None, "n": 0}


def results(found: Collection, title: str | None = None) -> dict[str, Any]:
    """Everything measured, with one entry per trained model; what was not measured is null."""
    runs = [run_result(run) for run in found.runs]
    seeds, starts = method_seeds(found), start_results(found.runs)
    data: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run": " + ".join(p.name for p in found.paths),
        "title": title,
        "start": starts[0] if starts else None,
        "starts": starts,
        "runs": runs,
        "methods": [
            {**method_result(name, rows, runs), "over_seeds": seeds.get(name)} for name, rows in found.methods.items()
        ],
        "comparisons": comparisons(found),
        "judges": found.judges.as_dict(),
        "people": found.people,
        "sources": merged(run.sources for run in found.runs),
        "counts": found.counts,
        "versions": found.versions,
        "notes": found.notes,
    }
    return {**data, "answer": asdict(answer(data)), "warnings": warnings(data)}


def run_result(run: Run) -> dict[str, Any]:
    """One trained model: quality, what it cost, how far it moved, and its settings."""
    scores, train = run.scores, run.train
    modes = (scores.get("models") or {}).get(run.role) or {}
    start = (scores.get("models") or {}).get("start") or {}
    kl, reward = scores.get("kl"), scores.get("reward_accuracy")
    return {
        "name": run.label,
        "method": run.method,
        "objective": run.objective,
        "start": scores.get("start"),
        "seed": run.seed,
        "key": run.key,
        "win_rate": win(scores, "greedy"),
        "win_rate_t1": win(scores, "sample"),
        "cooled_start": cooled(scores),
        "against": [w for w in scores.get("win") or [] if w["against"] != "start"],
        "gold": gold(scores, modes),
        "metrics": {name: m["metrics"] for name, mode in MODES.items() if (m := modes.get(mode))},
        "length": {name: length(modes.get(mode), start.get(mode)) for name, mode in MODES.items()},
        "kl": kl and {**trim(kl), "per_token": kl.get("per_token"), "temperature": kl.get("temperature")},
        "kl_curve": run.drift or None,
        "corpus": {name: modes[mode].get("corpus") or {} for name, mode in MODES.items() if mode in modes},
        "differences": [d for d in scores.get("differences") or [] if d["model"] == run.role],
        "signatures": scores.get("metrics") or {},
        "tasks": (scores.get("tasks") or {}).get(run.role),
        "benchmarks": benchmarks(scores, run.role),
        "distinct": (modes.get("sample") or {}).get("distinct"),
        "truncated": (modes.get("greedy") or {}).get("truncated"),
        "reward_accuracy": reward and {**trim(reward), **{k: reward[k] for k in ("pairs", "ties", "margin", "by")}},
        "calibration": (reward or {}).get("calibration"),
        "collapse": collapse(run),
        "prompts": scores.get("prompts"),
        "sampling": scores.get("sampling"),
        "seconds": train.get("train_seconds", train.get("seconds")),
        "stage_seconds": train.get("seconds"),
        "processes": train.get("processes", 1) if train else None,
        "device_hours": device_hours(train),
        "peak_memory_mb": train.get("peak_memory_mb"),
        "tokens": train.get("tokens"),
        "steps": train.get("steps"),
        "examples": train.get("examples"),
        "trainable_parameters": train.get("trainable_parameters"),
        "device": train.get("device"),
        "absent": scores.get("absent") or {},
        "settings": run.settings,
    }


def start_results(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The start models that were measured, each once, with a `label` that tells them apart."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        # One that was not trained is the start, and stands among the runs.
        if run.role != "start":
            by_name.setdefault(str(run.scores.get("start")), []).append(run)
    found = [(name, made) for name, same in by_name.items() if (made := start_result(same))]
    seeds = one_start_a_seed(runs)
    seed_of = {start: seed for seed, start in seeds.items()}
    return [{**made, "label": _start_label(name, seed_of.get(name), alone=len(by_name) == 1)} for name, made in found]


def _start_label(name: str, seed: int | None, *, alone: bool) -> str:
    return "start" if alone else f"start, {model_name(name)}" if seed is None else f"start, seed {seed}"


def start_result(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The start model's gold, length and diversity, from the first of its runs that measured them."""
    for run in runs:
        modes = (run.scores.get("models") or {}).get("start")
        if modes:
            return {
                "name": run.scores.get("start"),
                "gold": gold(run.scores, modes),
                "metrics": {name: m["metrics"] for name, mode in MODES.items() if (m := modes.get(mode))},
                "length": {name: length(modes.get(mode), None) for name, mode in MODES.items()},
                "distinct": (modes.get("sample") or {}).get("distinct"),
                "corpus": {name: modes[mode].get("corpus") or {} for name, mode in MODES.items() if mode in modes},
                "tasks": (run.scores.get("tasks") or {}).get("start"),
            }
    return None


def benchmarks(scores: dict[str, Any], role: str) -> dict[str, Any] | None:
    """By judged benchmark its facts and, under `scores`, the line of one model; None where there is none."""
    found = {
        name: {**{k: v for k, v in told.items() if k != "models"}, "scores": told["models"][role]}
        for name, told in (scores.get("benchmarks") or {}).items()
        if role in told["models"]
    }
    return found or None


def device_hours(train: dict[str, Any]) -> float | None:
    """Seconds in optimizer steps times the devices that took part, as hours; of a GPU or a CPU, as `device` says."""
    seconds = train.get("train_seconds", train.get("seconds"))
    return None if seconds is None else seconds * train.get("processes", 1) / 3600


def method_result(name: str, rows: list[Run], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of a method; not to be mixed with intervals over prompts."""
    mine = [r for r in runs if r["method"] == name]
    out: dict[str, Any] = {"name": name, "seeds": [r.seed for r in rows]}
    for key in ("win_rate", "win_rate_t1", "cooled_start", "kl", "reward_accuracy"):
        out[key] = spread([r[key]["value"] for r in mine if r[key] and r[key].get("value") is not None])
    for key in ("seconds", "device_hours", "peak_memory_mb", "tokens", "distinct"):
        out[key] = spread([r[key] for r in mine if r[key] is not None])
    for mode in ("greedy", "t1"):
        out[f"gold_{mode}"] = spread([r["gold"][mode]["value"] for r in mine if r["gold"] and r["gold"][mode]])
    return out


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Mean, standard deviation (n - 1; null for one) and number of values."""
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}


def win(scores: dict[str, Any], mode: str) -> dict[str, Any] | None:
    """The comparison with the start model in one mode."""
    for row in scores.get("win") or []:
        if row["mode"] == mode and row["against"] == "start":
            return {k: v for k, v in row.items() if k != "mode"}
    return None


def cooled(scores: dict[str, Any]) -> dict[str, Any] | None:
    """Samples of the trained model against the start at the temperature that makes it as diverse."""
    found = scores.get("cooled_start")
    if not found or found.get("value") is None:
        return None
    modes = (scores.get("models") or {}).get("cooled_start") or {}
    return {**found, "gold": _metric(modes.get("sample"), scores.get("win_by"))}


def gold(scores: dict[str, Any], modes: dict[str, Any]) -> dict[str, Any] | None:
    """The metric that decides win rates: its mean for greedy responses and for samples."""
    metric = scores.get("win_by")
    if metric is None:
        return None
    return {
        "metric": metric,
        "greedy": _metric(modes.get("greedy"), metric),
        "t1": _metric(modes.get("sample"), metric),
    }


def _metric(mode: dict[str, Any] | None, metric: str | None) -> dict[str, Any] | None:
    found = (mode or {}).get("metrics", {}).get(metric)
    return trim(found) if found and found.get("value") is not None else None


def length(mode: dict[str, Any] | None, start: dict[str, Any] | None) -> dict[str, Any] | None:
    """Tokens and words of a response, and how many times the start's words that is."""
    if mode is None:
        return None
    ours, theirs = mode["words"]["value"], ((start or {}).get("words") or {}).get("value")
    ratio = ours / theirs if ours is not None and theirs else None
    return {"tokens": trim(mode["tokens"]), "words": trim(mode["words"]), "words_ratio": ratio}


def trim(estimate: dict[str, Any]) -> dict[str, Any]:
    """Value, interval and number of prompts of an estimate."""
    return {k: estimate.get(k) for k in EMPTY}
