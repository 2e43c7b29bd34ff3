"""The numbers of a report as data: results.json (docs/results_schema.md) and results.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from prefine.report.collect import Collection, Run
from prefine.report.svg import DASH, number, percent

SCHEMA_VERSION = 1
MODES = {"greedy": "greedy", "t1": "sample"}
"""Names in results.json and the modes they stand for; samples are drawn at `sampling.temperature`, 1 by default."""
EMPTY = {"value": None, "low": None, "high": None, "n": 0}


def results(found: Collection, title: str | None = None) -> dict[str, Any]:
    """Everything measured, with one entry per trained model; what was not measured is null."""
    runs = [run_result(run) for run in found.runs]
    return {
        "schema_version": SCHEMA_VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run": " + ".join(p.name for p in found.paths),
        "title": title,
        "start": start_result(found.runs),
        "runs": runs,
        "methods": [method_result(name, rows, runs) for name, rows in found.methods.items()],
        "counts": found.counts,
        "versions": found.versions,
        "notes": found.notes,
    }


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
        "distinct": (modes.get("sample") or {}).get("distinct"),
        "truncated": (modes.get("greedy") or {}).get("truncated"),
        "reward_accuracy": reward and {**trim(reward), **{k: reward[k] for k in ("pairs", "ties", "margin", "by")}},
        "prompts": scores.get("prompts"),
        "sampling": scores.get("sampling"),
        "seconds": train.get("train_seconds", train.get("seconds")),
        "stage_seconds": train.get("seconds"),
        "peak_memory_mb": train.get("peak_memory_mb"),
        "tokens": train.get("tokens"),
        "steps": train.get("steps"),
        "examples": train.get("examples"),
        "trainable_parameters": train.get("trainable_parameters"),
        "device": train.get("device"),
        "absent": scores.get("absent") or {},
        "settings": run.settings,
    }


def start_result(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The start model's gold, length and diversity, from the first run that measured them."""
    for run in runs:
        modes = (run.scores.get("models") or {}).get("start")
        if modes:
            return {
                "name": run.scores.get("start"),
                "gold": gold(run.scores, modes),
                "metrics": {name: m["metrics"] for name, mode in MODES.items() if (m := modes.get(mode))},
                "length": {name: length(modes.get(mode), None) for name, mode in MODES.items()},
                "distinct": (modes.get("sample") or {}).get("distinct"),
            }
    return None


def method_result(name: str, rows: list[Run], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of a method; not to be mixed with intervals over prompts."""
    mine = [r for r in runs if r["method"] == name]
    out: dict[str, Any] = {"name": name, "seeds": [r.seed for r in rows]}
    for key in ("win_rate", "win_rate_t1", "cooled_start", "kl", "reward_accuracy"):
        out[key] = spread([r[key]["value"] for r in mine if r[key] and r[key].get("value") is not None])
    for key in ("seconds", "peak_memory_mb", "tokens", "distinct"):
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


def markdown(data: dict[str, Any]) -> str:
    """The results as a Markdown table, intervals in brackets; columns of what was not measured are left out."""
    rows = [_columns(run) for run in data["runs"]]
    first = [{"model": "start", **_quality(data["start"])}] if data["start"] else []
    shown = [c for c in rows[0] if any(row[c] != DASH for row in rows)]
    lines = [shown, ["---"] + ["---:"] * (len(shown) - 1)]
    lines += [[row.get(c, "") for c in shown] for row in first + rows]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([f"# {data['title'] or data['run']}", "", *table, "", *_seed_lines(data)]) + "\n"


def _columns(run: dict[str, Any]) -> dict[str, str]:
    """A run's row of the Markdown table."""
    return {
        "model": run["name"].replace("|", "/"),
        "win, greedy": interval_text(run["win_rate"]),
        "win, T=1": interval_text(run["win_rate_t1"]),
        "vs cooled start": interval_text(run["cooled_start"]),
        **_quality(run),
        "KL": interval_text(run["kl"], as_percent=False),
        "reward accuracy": interval_text(run["reward_accuracy"]),
        "seconds": number(run["seconds"]) if run["seconds"] is not None else DASH,
    }


def _quality(entry: dict[str, Any]) -> dict[str, str]:
    """Gold and words of a run or of the start."""
    scores, words = entry["gold"] or {}, entry["length"]["t1"] or entry["length"]["greedy"] or {}
    return {
        "gold, greedy": interval_text(scores.get("greedy"), as_percent=False),
        "gold, T=1": interval_text(scores.get("t1"), as_percent=False),
        "words": number(words["words"]["value"]) if words and words["words"]["value"] is not None else DASH,
    }


def _seed_lines(data: dict[str, Any]) -> list[str]:
    """Mean and standard deviation over seeds, for methods with several."""
    out = []
    for method in data["methods"]:
        won = method["win_rate"]
        if won and won["n"] > 1:
            out.append(f"{method['name']}: win rate, greedy, {spread_text(won)} over {won['n']} seeds")
    return out


def interval_text(estimate: dict[str, Any] | None, *, as_percent: bool = True) -> str:
    """`56.2 % [53.0, 59.4]`, or `.562 [.530, .594]` for a metric; a dash where nothing was measured."""
    if not estimate or estimate.get("value") is None:
        return DASH
    if as_percent:
        shown, bound = percent(estimate["value"]), lambda v: f"{100 * v:.1f}"
    else:
        shown, bound = number(estimate["value"]), number
    if estimate.get("low") is None or estimate.get("high") is None:
        return shown
    return f"{shown} [{bound(estimate['low'])}, {bound(estimate['high'])}]"


def spread_text(value: dict[str, Any]) -> str:
    """`56.2 % ± 1.1` for a share over seeds."""
    sd = f" ± {100 * value['sd']:.1f}" if value["sd"] is not None else ""
    return percent(value["mean"]) + sd
