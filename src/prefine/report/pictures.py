"""Which numbers go into which chart; a method has the same color and shape in all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from prefine.report.charts import (
    Interval,
    IntervalRow,
    Series,
    Spot,
    compute_chart,
    interval_chart,
    line_chart,
)
from prefine.report.collect import Collection, Run
from prefine.report.results import interval_text, spread_text
from prefine.report.svg import marker

WINS = (("win_rate", "greedy", False), ("win_rate_t1", "T = {t:g}", True), ("cooled_start", "vs cooled start", True))
CURVES = (
    ("rewards/accuracies", "Reward accuracy", "share of pairs ranked as labeled", True),
    ("logps/chosen", "Log-prob of chosen", "nats a response", False),
    ("logps/rejected", "Log-prob of rejected", "nats a response", False),
)
MORE_CURVES = (
    ("lengths/chosen", "Length of chosen", "tokens, of the training data", False),
    ("lengths/rejected", "Length of rejected", "tokens, of the training data", False),
    ("grad_norm", "Gradient norm", "before clipping", False),
    ("learning_rate", "Learning rate", "", False),
)


def dot(index: int | None) -> Markup:
    """A method's marker for tables and legends."""
    return Markup(f'<svg class="dot-mark" viewBox="0 0 14 14" aria-hidden="true">{marker(7, 7, index, size=5)}</svg>')


def colors(found: Collection) -> dict[str, int]:
    """The color of each method, in the order they were trained."""
    return {method: i for i, method in enumerate(found.methods)}


def win_intervals(found: Collection, data: dict[str, Any]) -> Markup | None:
    """Every method's win rates against the start: greedy, samples, and samples against the cooled start."""
    paint, rows = colors(found), []
    for method in data["methods"]:
        mine = [r for r in data["runs"] if r["method"] == method["name"]]
        first = True
        for key, label, hollow in WINS:
            have = [r for r in mine if r[key] and r[key]["value"] is not None]
            if not have:
                continue
            intervals = [_interval(r, r[key]) for r in have]
            words = label.format(t=have[0]["sampling"]["temperature"])
            text = spread_text(method[key]) if len(have) > 1 else interval_text(have[0][key])
            name = f"{method['name']}, {words}" if first else words
            rows.append(IntervalRow(name, paint[method["name"]], intervals, text, hollow, first))
            first = False
    return interval_chart(rows, name="Win rates against the start with 95 % intervals") if rows else None


def _interval(run: dict[str, Any], estimate: dict[str, Any]) -> Interval:
    note = f"{run['name']}: {interval_text(estimate)}, {estimate.get('n')} prompts"
    return Interval(estimate["value"], estimate.get("low"), estimate.get("high"), note)


def compute(found: Collection, data: dict[str, Any]) -> list[dict[str, Any]]:
    """Quality against training seconds and against training tokens; held-out pairs where nothing was sampled."""
    key, what = ("win_rate", "Win rate, greedy") if any(r["win_rate"] for r in data["runs"]) else (None, "")
    if key is None and any(r["reward_accuracy"] for r in data["runs"]):
        key, what = "reward_accuracy", "Reward accuracy"
    if key is None:
        return []
    paint, out = colors(found), []
    for cost, x_label in (("seconds", "seconds of training"), ("tokens", "tokens trained on")):
        have = [r for r in data["runs"] if r[key] and r[key]["value"] is not None and r[cost]]
        spots = [Spot(r["method"], paint[r["method"]], float(r[cost]), _interval(r, r[key])) for r in have]
        if spots:
            svg = compute_chart(spots, name=f"{what} against {x_label}", x_label=x_label, y_label=what)
            out.append({"title": f"{what}, against {x_label}", "svg": svg})
    return out


def curves(found: Collection) -> list[dict[str, Any]]:
    """Training curves of all methods. Losses and rewards get a chart for each objective: each has its own scale."""
    out: list[dict[str, Any]] = []
    by_objective: dict[str, list[str]] = {}
    for method, runs in found.methods.items():
        by_objective.setdefault(runs[0].objective or method, []).append(method)
    for key, title, note in (("loss", "Loss", ""), ("rewards/margins", "Reward margin", "chosen less rejected")):
        for objective, methods in by_objective.items():
            _add(out, found, key, f"{title}, {objective}", note, False, methods)
    for key, title, note, as_percent in CURVES:
        _add(out, found, key, title, note, as_percent, list(found.methods))
    return out


def more_curves(found: Collection) -> list[dict[str, Any]]:
    """Curves for those who look for the cause of something."""
    out: list[dict[str, Any]] = []
    for key, title, note, as_percent in MORE_CURVES:
        _add(out, found, key, title, note, as_percent, list(found.methods))
    return out


def _add(
    out: list[dict[str, Any]],
    found: Collection,
    key: str,
    title: str,
    note: str,
    as_percent: bool,
    methods: Sequence[str],
) -> None:
    """Append a chart of one logged value, unless no run has logged it."""
    paint = colors(found)
    series = [_series(m, paint[m], found.methods[m], key) for m in methods]
    series = [s for s in series if s.points or s.dots]
    if series:
        out.append({"title": title, "note": note, "svg": line_chart(series, name=title, as_percent=as_percent)})


def _series(method: str, index: int, runs: Sequence[Run], key: str) -> Series:
    """The mean over the seeds of a method by step, and the range they span."""
    trained, held_out = _by_step(runs, key), _by_step(runs, f"eval/{key}")
    band = [(x, min(v), max(v)) for x, v in trained.items() if len(v) > 1]
    return Series(
        method,
        index,
        [(x, statistics.fmean(v)) for x, v in trained.items()],
        band if len(band) > 1 else [],
        [(x, statistics.fmean(v)) for x, v in held_out.items()],
    )


def _by_step(runs: Sequence[Run], key: str) -> dict[float, list[float]]:
    out: dict[float, list[float]] = {}
    for run in runs:
        for row in run.log:
            if key in row and "step" in row:
                out.setdefault(row["step"], []).append(row[key])
    return dict(sorted(out.items()))
