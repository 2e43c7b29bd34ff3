"""Judged benchmarks: scores with their intervals, under the judge that gave them."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.report.html import Cell, Part, Report, cell, note, share, table
from prefine.report.svg import DASH, number

ORDER = 85
SCORES = (
    ("length_controlled_winrate", "length-controlled", "win rate, %", "lc_low", "lc_high"),
    ("win_rate_adjusted", "win rate", "ties half, %", "low", "high"),
    ("win_rate", "win rate", "%", "low", "high"),
    ("score", "score", "", "low", "high"),
    ("style_controlled", "style-controlled", "%", "style_controlled_low", "style_controlled_high"),
    ("turn_1", "turn 1", "1 to 10", "", ""),
    ("turn_2", "turn 2", "1 to 10", "", ""),
)
"""Key of a score, its name and unit, and the keys of its interval; a table has those that its benchmark gives."""
COUNTS = (("n_parsed", "verdicts"), ("n_failed", "failed"), ("first_shown_wins", "first wins, %"))
ORDERS = (("flip_rate", "order decides"), ("tie_rate", "level in the end"))
"""Shares of the pairs that were shown in both orders: two winners, and no winner."""


BOUNDS = ("with the failed ones", "least, most")


def part(report: Report) -> Part | None:
    names = list(dict.fromkeys(name for r in report.runs for name in r["benchmarks"] or {}))
    if not names:
        return None
    return Part("benchmarks", "Judged benchmarks", Markup("\n").join(_benchmark(report, name) for name in names))


def _benchmark(report: Report, name: str) -> Markup:
    lines = [(r, line) for r in report.runs for line in _lines((r["benchmarks"] or {}).get(name))]
    shown = [s for s in SCORES if any(line.get(s[0]) is not None for _, line in lines)]
    if any(s[0] == "win_rate_adjusted" for s in shown):
        shown = [s for s in shown if s[0] != "win_rate"]
    counts = [c for c in COUNTS if any(line.get(c[0]) is not None for _, line in lines)]
    orders = [o for o in ORDERS if any((line.get("orders") or {}).get(o[0]) is not None for _, line in lines)]
    bounds = any(line.get("bounds") for _, line in lines)
    by_category = any(line.get("category") for _, line in lines)
    rows = [
        [
            report.row(run),
            *([str(line.get("category") or "all")] if by_category else []),
            *(_score(line, key, low, high) for key, _, _, low, high in shown),
            *(cell(line.get(key)) for key, _ in counts),
            *([_bounds(line)] if bounds else []),
            *(share((line.get("orders") or {}).get(key)) for key, _ in orders),
        ]
        for run, line in lines
    ]
    head: list[Any] = ["model", *(["category"] if by_category else []), *((n, unit) for _, n, unit, _, _ in shown)]
    facts = next(r["benchmarks"][name] for r in report.runs if name in (r["benchmarks"] or {}))
    notes = list(dict.fromkeys(text for _, line in lines for text in line.get("notes") or []))
    judge = facts["judge"].get("judge") or facts["judge"].get("name") or facts["judge"].get("model") or "not named"
    said = f"{facts['questions']} questions, judge {judge}, baseline {facts['baseline'] or 'none'}."
    left = (1,) if by_category else ()
    return (
        Markup("<h3>{}</h3>").format(name)
        + table(
            [
                *head,
                *(c for _, c in counts),
                *([BOUNDS] if bounds else []),
                *((name, "% of pairs") for _, name in orders),
            ],
            rows,
            left=left,
        )
        + note(said, "Scores of different judges cannot be compared.", *notes)
    )


def _bounds(line: dict[str, Any]) -> Cell:
    """The least and the most that the score could be, were the verdicts that failed there."""
    ends = line.get("bounds")
    return Cell(f"[{number(ends[0])}, {number(ends[1])}]", ends[0]) if ends else cell(None)


def _lines(found: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The lines of a model's table: one, or one for each category."""
    if not found:
        return []
    line = found["scores"]
    return [{**one, "notes": line.get("notes")} for one in line.get("by_category") or [line]]


def main_score(line: dict[str, Any]) -> tuple[str, str]:
    """The name and unit of the score that a benchmark is known by, and its text with the interval."""
    key, name, unit, low, high = next((s for s in SCORES if line.get(s[0]) is not None), SCORES[-1])
    text = DASH if line.get(key) is None else f"{number(line[key])} {_ends(line, low, high)}".strip()
    return f"{name}{f', {unit}' if unit else ''}", text


def _ends(line: dict[str, Any], low: str, high: str) -> str:
    known = line.get(low) is not None and line.get(high) is not None
    return f"[{number(line[low])}, {number(line[high])}]" if known else ""


def _score(line: dict[str, Any], key: str, low: str, high: str) -> Cell:
    if line.get(key) is None:
        return cell(None)
    text = Markup("<b>{}</b>").format(number(line[key]))
    if ends := _ends(line, low, high):
        text += Markup('<span class="ci">{}</span>').format(ends)
    return Cell(text, line[key])
