"""Task benchmarks of lm-evaluation-harness."""

from __future__ import annotations

from typing import Any

from prefine.report.html import Cell, Part, Report, cell, estimate, note, table
from prefine.report.svg import percent

ORDER = 90


def part(report: Report) -> Part | None:
    names = list(dict.fromkeys(t for r in report.runs for t in r["tasks"] or {}))
    if not names:
        return None
    rows = []
    for name in names:
        rows += [
            [report.name(s["label"], None), name, *_row(s["tasks"][name], None)]
            for s in report.data["starts"]
            if name in (s["tasks"] or {})
        ]
        rows += [
            [report.row(r), name, *_row(found, (report.start_of(r).get("tasks") or {}).get(name))]
            for r in report.runs
            if (found := (r["tasks"] or {}).get(name))
        ]
    head = ["model", "task", ("value", "%"), ("to the start", "points"), "metric", "shots", "questions", "version"]
    explained = note(
        "By lm-evaluation-harness with its own prompts; intervals are 1.96 of its standard errors to either side. "
        "Differences have no paired test: what each question became is in samples.jsonl of the evaluation."
    )
    return Part("tasks", "Task benchmarks", table(head, rows, left=(1, 4)) + explained)


def _row(found: dict[str, Any], start: dict[str, Any] | None) -> list[Any]:
    more = ""
    if found.get("unweighted"):
        more = f"{percent(found['unweighted']['value'])} unweighted"
    gap = cell(None)
    if start and start.get("value") is not None and found.get("value") is not None:
        points = 100 * (found["value"] - start["value"])
        gap = Cell(f"{points:+.1f}".replace("-", "\u2212"), points)
    return [
        estimate(found, more=more),
        gap,
        found["metric"],
        cell(found.get("shots")),
        cell(found.get("n")),
        cell(found.get("version")),
    ]
