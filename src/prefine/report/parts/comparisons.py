"""Every method against its start and against every other one, with tests corrected for their number."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.report.answer import CERTAIN, START, is_certain, open_over_seeds, seeds_interval
from prefine.report.html import Cell, Part, Report, bounds, cell, estimate, folded, note, p_value, share, table

ORDER = 20


def part(report: Report) -> Part | None:
    found = report.data["comparisons"]
    if not found:
        return None
    body = [_table(report, found)]
    body.append(
        note(
            "Greedy responses to the same prompts. p: random signs over prompts, two-sided, corrected by Holm over the "
            f"comparisons with the start and, apart from these, over those between methods; below {CERTAIN:g} is "
            "called certain. Detectable: how far from 50\u202f% a share has to be to be found four times in five with "
            "as many prompts (2.8 standard errors).",
            "Methods with several seeds enter with their mean over seeds; over seeds is what other seeds would give."
            if report.seeds > 1
            else "One seed each: nothing here says what another training seed would give.",
        )
    )
    body.append(_single(report))
    return Part("comparisons", "Which differences are certain?", Markup("\n").join(body))


def _table(report: Report, found: list[dict[str, Any]]) -> Markup:
    rows, marks = [], []
    seeds = any(c["over_seeds"] and c["over_seeds"]["low"] is not None for c in found)
    for c in found:
        won, gap = c["win_rate"], c["difference"]
        sure = is_certain(c)
        outcome = ("better" if won["value"] > 0.5 else "worse") if sure else "not certain"
        if sure and open_over_seeds(seeds_interval(c)):
            outcome += " with these seeds"
        detectable = won["detectable"]
        row = [
            report.name(c["a"], c["a"]),
            report.name("start", None) if c["b"] == START else report.name(c["b"], c["b"]),
            Cell(outcome, outcome, "wins" if sure and won["value"] > 0.5 else "loses" if sure else ""),
            estimate(won),
            p_value(won["adjusted"]),
            cell(None) if detectable is None else Cell(f"± {100 * detectable:.1f}", detectable),
            estimate(gap, as_percent=False),
            p_value(gap["adjusted"]),
            cell(won["n"]),
        ]
        if seeds:
            over = c["over_seeds"]
            row.append(Cell(bounds(over), over["value"]) if over and over["low"] is not None else cell(None))
        rows.append(row)
        marks.append("" if sure else "open")
    head: list[Any] = ["model", "against", "", ("wins", "%"), ("p", "Holm"), ("detectable", "points")]
    head += [(f"difference in {report.metric}", "mean a prompt"), ("p", "Holm"), "prompts"]
    if seeds:
        head.append(("wins over seeds", "95 %"))
    return table(head, rows, name="comparisons-table", left=(1, 2), marks=marks)


def _single(report: Report) -> Markup:
    """Comparisons of single runs that the evaluations made, samples among them."""
    names = {r["key"]: r["name"] for r in report.runs}
    rows = [
        [
            report.row(r),
            names.get(w.get("train_key") or "", w["against"]),
            w["mode"],
            estimate(w),
            p_value(w.get("adjusted", w.get("p_value"))),
            share(w["ties"] / w["comparisons"] if w["comparisons"] else None),
        ]
        for r in report.runs
        for w in r["against"]
    ]
    if not rows:
        return Markup("")
    head = ["model", "against", "mode", ("wins", "%"), ("p", "Holm"), ("ties", "%")]
    return folded(f"Run against run, samples included ({len(rows)} comparisons)", table(head, rows, left=(1, 2)))
