"""What the policy sampled while it was trained: KL from its start and length over steps, and some of the texts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from prefine.report.charts import Series, line_chart
from prefine.report.collect import Run
from prefine.report.html import Report, cell, estimate, figure, folded, note, share, table
from prefine.report.svg import number
from prefine.report.text import plain, shown

MOST_ROWS = 40
"""Steps of a run in the table behind a curve."""
SHOWN_PROMPTS, SHOWN_STEPS, SHOWN_MODELS = 3, 5, 6
SHOWN_LENGTH = 600
"""Characters of a sample."""


def curves(report: Report) -> list[Markup]:
    """KL from the start and length over steps; empty where nothing was sampled."""
    if not any(run.drift for run in report.found.runs):
        return []
    prompts = max((row["n"] for run in report.found.runs for row in run.drift), default=0)
    of = f"samples of the policy at T = 1, {prompts} held-out prompts a step"
    interval = "; band: 95\u202f% interval" if report.seeds == 1 else ""
    made = [
        _curve(report, "value", "KL from the start", f"nats a response; {of}{interval}", bounds=True),
        _curve(report, "tokens", "Length of samples", f"tokens; {of}"),
    ]
    return [curve for curve in made if curve]


def _curve(report: Report, key: str, title: str, unit: str, *, bounds: bool = False) -> Markup | None:
    found = [_series(m, report.paint[m], runs, key, bounds) for m, runs in report.found.methods.items()]
    series = [s for s in found if s.points]
    if not series:
        return None
    name = f"{title} over steps ({unit}): " + "; ".join(
        f"{s.label} from {number(s.points[0][1])} to {number(s.points[-1][1])}" for s in series
    )
    return figure(title, line_chart(series, name=name), note=unit, behind=_table(report))


def _series(method: str, index: int, runs: Sequence[Run], key: str, bounds: bool) -> Series:
    """The mean over the seeds of a method by step, with the range that they span; of one seed, its interval."""
    by_step: dict[float, list[float]] = {}
    for run in runs:
        for row in run.drift:
            if row[key] is not None:
                by_step.setdefault(row["step"], []).append(row[key])
    band = [(x, min(v), max(v)) for x, v in sorted(by_step.items()) if len(v) > 1]
    if bounds and len(runs) == 1:
        band = [(row["step"], row["low"], row["high"]) for row in runs[0].drift if row["low"] is not None]
    points = [(x, statistics.fmean(v)) for x, v in sorted(by_step.items())]
    return Series(method, index, points, band if len(band) > 1 else [])


def _table(report: Report) -> Markup:
    rows = []
    for run in report.found.runs:
        for row in evenly(run.drift, MOST_ROWS):
            numbers = cell(row["step"]), estimate(row, as_percent=False), cell(row["per_token"]), cell(row["tokens"])
            rows.append([report.name(run.label, run.method), *numbers, share(row["finished"]), cell(row["n"])])
    head = [
        "model",
        "step",
        ("KL", "nats a response"),
        ("KL", "nats a token"),
        ("length", "tokens"),
        "finished",
        "prompts",
    ]
    return table(head, rows, sortable=False)


def evenly(rows: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the rows, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def texts(report: Report) -> Markup:
    """The same few prompts as they were answered over the steps, one run of each method; empty where nothing was
    sampled."""
    runs = [rows[0] for rows in report.found.methods.values() if rows[0].drawn][:SHOWN_MODELS]
    if not runs:
        return Markup("")
    by_run = [_by_prompt(run) for run in runs]
    prompts = list(dict.fromkeys(prompt for found in by_run for prompt in found))
    prompts.sort(key=lambda prompt: -sum(prompt in found for found in by_run))
    body = note("One sample at T = 1 for each step, drawn anew every time; step 0 is before training.")
    for prompt in prompts[:SHOWN_PROMPTS]:
        body += Markup('<p class="reason">{}</p>').format(shown(prompt.strip(), SHOWN_LENGTH))
        body += _answers(report, runs, [found.get(prompt, {}) for found in by_run], plain(prompt.strip()))
    return folded("Samples while training", body)


def _by_prompt(run: Run) -> dict[str, dict[int, dict[str, Any]]]:
    out: dict[str, dict[int, dict[str, Any]]] = {}
    for row in run.drawn:
        out.setdefault(row["prompt"], {})[row["step"]] = row
    return out


def _answers(report: Report, runs: Sequence[Run], found: Sequence[dict[int, dict[str, Any]]], label: str) -> Markup:
    """A row for every step shown, a column for every method."""
    steps = evenly(sorted({step for rows in found for step in rows}), SHOWN_STEPS)
    rows = [[f"{step:,}", *(_answer(rows.get(step)) for rows in found)] for step in steps]
    head = ["step", *(run.label for run in runs)]
    return table(head, rows, left=range(1, len(head)), label=f"Samples for: {label}", sortable=False)


def _answer(row: dict[str, Any] | None) -> Any:
    if row is None:
        return cell(None)
    text = (
        shown(row["response"], SHOWN_LENGTH) if row["response"].strip() else Markup('<span class="none">(empty)</span>')
    )
    return text if row["finished"] else text + Markup(' <span class="hint">[cut off]</span>')
