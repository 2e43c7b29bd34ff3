"""Data lineage: sources and licenses, and what became of every row from stage to stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from prefine.report.html import Part, Report, cell, note, table
from prefine.report.svg import number, percent

ORDER = 120


def part(report: Report) -> Part | None:
    counts = report.data["counts"]
    if not counts:
        return None
    body = [note("Every stage accounts for its rows: in = out + dropped."), _stages(report, counts)]
    if sources := report.data["sources"]:
        rows = [
            [s["dataset"], s["license"], cell(s["prompts"]), s["revision"] or cell(None), s["url"] or cell(None)]
            for s in sources
        ]
        head = ["data set", "license", "prompts", "revision", "address"]
        body.append(Markup("<h3>Sources and licenses</h3>") + table(head, rows, left=(1, 3, 4)))
        if any(s["license"] == "unknown" for s in sources):
            body.append(note("A license is unknown where neither the rows nor their format name one."))
    return Part("rows", "Data and time", Markup("\n").join(body))


def _stages(report: Report, counts: list[dict[str, Any]]) -> Markup:
    several = len(report.found.paths) > 1
    rows = [list(_row(c, several)) for count in counts for c in _with_steps(count)]
    head: list[Any] = ["stage", *(["run"] if several else []), "in", "out", ("kept", "%")]
    head += ["dropped, by reason", "also counted", ("time", "s")]
    at = 4 + several
    return table(head, rows, left=(at, at + 1, *((1,) if several else ())), sortable=False)


def _with_steps(count: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A stage, and below it the steps of its cleaning."""
    yield count
    for step in count.get("steps") or []:
        yield {**step, "run": count["run"], "stage": f"\u2003{step['step']}", "label": "", "extra": {}, "seconds": None}


def _row(c: dict[str, Any], several: bool) -> Iterator[Any]:
    yield Markup("{} <small>{}</small>").format(c["stage"], c["label"])
    if several:
        yield c["run"]
    yield cell(c["rows_in"])
    yield cell(c["rows_out"])
    yield percent(c["rows_out"] / c["rows_in"]) if c["rows_in"] else cell(None)
    yield ", ".join(f"{n:,} {reason}" for reason, n in (c["dropped"] or {}).items()) or "none"
    yield ", ".join(f"{_whole(n)} {reason}" for reason, n in c["extra"].items() if n)
    yield cell(c["seconds"])


def _whole(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else number(value)
