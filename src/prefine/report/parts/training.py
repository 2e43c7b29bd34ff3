"""Curves of what training logged: loss, reward margin, drift from the reference, and more."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from prefine.report import drift
from prefine.report.charts import Series, line_chart
from prefine.report.collect import Run
from prefine.report.html import Part, Report, cell, figure, figures, folded, table
from prefine.report.svg import dot, number
from prefine.report.text import shown

ORDER = 60
PER_OBJECTIVE = (
    ("loss", "Loss", "mean over examples, the objective's own unit"),
    ("rewards/margins", "Reward margin", "chosen less rejected, beta times nats"),
)
"""Each objective has its own scale of these."""
CURVES = (
    ("rewards/accuracies", "Reward accuracy", "share of pairs ranked as labeled", True),
    ("logps_drift/chosen", "Drift of chosen", "log-ratio to the reference, nats a response", False),
    ("logps_drift/rejected", "Drift of rejected", "log-ratio to the reference, nats a response", False),
    ("logps/chosen", "Log-prob of chosen", "nats a response", False),
    ("logps/rejected", "Log-prob of rejected", "nats a response", False),
)
MORE_CURVES = (
    ("lengths/chosen", "Length of chosen", "tokens, of the training data", False),
    ("lengths/rejected", "Length of rejected", "tokens, of the training data", False),
    ("entropy", "Entropy", "nats a token", False),
    ("kl/z0", "Reference point of KTO", "nats, estimated on responses to other prompts", False),
    ("grad_norm", "Gradient norm", "before clipping", False),
    ("learning_rate", "Learning rate", "a step", False),
)
MOST_ROWS = 40
"""Steps in the table behind a curve."""


def part(report: Report) -> Part | None:
    curves = []
    for key, title, note in PER_OBJECTIVE:
        for objective, methods in _objectives(report).items():
            curves.append(_curve(report, key, f"{title}, {objective}", note, False, methods))
    names = list(report.found.methods)
    curves += drift.curves(report)
    curves += [_curve(report, *curve, names) for curve in CURVES]
    more = [made for curve in MORE_CURVES if (made := _curve(report, *curve, names))]
    curves = [made for made in curves if made]
    if not curves:
        return None
    body = _legend(report) + figures(curves)
    if more:
        body += folded("Length of the training data, entropy, gradient norm, learning rate", figures(more))
    body += drift.texts(report)
    return Part("training", "During training", body)


def _objectives(report: Report) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for method, runs in report.found.methods.items():
        out.setdefault(runs[0].objective or method, []).append(method)
    return out


def _legend(report: Report) -> Markup:
    marks = [Markup("<span>{}{}</span>").format(dot(report.paint[name]), shown(name)) for name in report.found.methods]
    if report.seeds > 1:
        marks.append(Markup('<span class="hint">line: mean over seeds, band: lowest to highest</span>'))
    if any(k.startswith("eval/") for r in report.found.runs for row in r.log for k in row):
        marks.append(Markup('<span class="hint">hollow dots: held-out examples</span>'))
    return Markup('<p class="legend">{}</p>').format(Markup("").join(marks))


def _curve(report: Report, key: str, title: str, note: str, as_percent: bool, methods: Sequence[str]) -> Markup | None:
    """A chart of one logged value, unless no run has logged it."""
    series = [series_of(m, report.paint[m], report.found.methods[m], key) for m in methods]
    series = [s for s in series if s.points or s.dots]
    if not series:
        return None
    name = f"{title} over steps ({note}): " + "; ".join(
        f"{s.label} from {number(ends[0][1])} to {number(ends[-1][1])}" for s in series for ends in [s.points or s.dots]
    )
    picture = line_chart(series, name=name, as_percent=as_percent)
    return figure(title, picture, note=note, behind=_table(report, series))


def series_of(method: str, index: int, runs: Sequence[Run], key: str) -> Series:
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


def _table(report: Report, series: Sequence[Series]) -> Markup:
    """The values by step, of long trainings every so many-th step."""
    columns = [(s.label, dict(values), kind) for s in series for kind, values in _kinds(s) if values]
    steps = sorted({x for _, values, _ in columns for x in values})
    every = -(-len(steps) // MOST_ROWS)
    kept = [x for i, x in enumerate(steps) if i % every == 0 or i == len(steps) - 1]
    rows = [[f"{x:g}", *(cell(values.get(x)) for _, values, _ in columns)] for x in kept]
    text = f"every {every}th of {len(steps)} logged steps; metrics.jsonl has all" if every > 1 else ""
    return table(["step", *((label, kind) for label, _, kind in columns)], rows, caption=text, sortable=False)


def _kinds(series: Series) -> list[tuple[str, list[tuple[float, float]]]]:
    return [("", series.points), ("held out", series.dots)]
