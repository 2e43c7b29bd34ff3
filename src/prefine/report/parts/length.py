"""Whether wins go along with length: over the models, and within each of them over its prompts."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.evaluate.statistics import preference, share
from prefine.report.charts import Interval, Series, line_chart
from prefine.report.collect import Run
from prefine.report.comparisons import START, greedy_scores
from prefine.report.html import Part, Report, cell, estimate, figure, figures, note, table
from prefine.report.phrases import interval_text
from prefine.report.scatter import Spot, scatter_chart
from prefine.report.svg import number, percent

ORDER = 50
BINS = 5
FEWEST = 10
"""Prompts of a bin below which there are fewer bins."""

OVER_MODELS = "Over models: where better ones are also longer, length may be what wins."
OVER_PROMPTS = (
    "Within a model: its prompts, cut into equal parts by how many words its response has more than the start's; a "
    "curve that rises says that the longer responses are the ones that win."
)


def part(report: Report) -> Part | None:
    found = [
        (picture, said)
        for picture, said in ((_models(report), OVER_MODELS), (_prompts(report), OVER_PROMPTS))
        if picture
    ]
    if not found:
        return None
    explained = note(*(said for _, said in found), "This shows no cause.")
    made = [picture for picture, _ in found]
    return Part("length", "Length against win rate", figures(made) + explained)


def _models(report: Report) -> Markup | None:
    """A point per model: words as a ratio to the start's, and its win rate."""
    have = [
        (r, r["length"]["greedy"]["words_ratio"])
        for r in report.runs
        if r["win_rate"] and r["win_rate"]["value"] is not None and (r["length"]["greedy"] or {}).get("words_ratio")
    ]
    if not have:
        return None
    spots = [
        Spot(
            r["method"],
            report.paint[r["method"]],
            ratio,
            Interval(r["win_rate"]["value"], r["win_rate"]["low"], r["win_rate"]["high"], interval_text(r["win_rate"])),
        )
        for r, ratio in have
    ]
    name = "Win rate against length: " + "; ".join(
        f"{r['name']} {percent(r['win_rate']['value'])} at {number(ratio)} times the words" for r, ratio in have
    )
    axis = "words of greedy responses, times the start's"
    rows = [[report.row(r), cell(ratio), estimate(r["win_rate"])] for r, ratio in have]
    return figure(
        "Win rate by length, models",
        scatter_chart(spots, name=name, x_label=axis),
        note="greedy",
        behind=table(["model", ("words", "times the start's"), ("win rate", "%")], rows),
    )


def _prompts(report: Report) -> Markup | None:
    """Win rate by how much longer the response is than the start's, the first seed of each method."""
    series, rows = [], []
    for method, runs in report.found.methods.items():
        found = by_length(runs[0])
        if found:
            points = [(b["words"], b["value"]) for b in found]
            band = [(b["words"], b["low"], b["high"]) for b in found if b["low"] is not None]
            series.append(Series(method, report.paint[method], points, band, points))
            rows += [[report.name(runs[0].label, method), cell(b["words"]), estimate(b), cell(b["n"])] for b in found]
    if not series:
        return None
    axis = "words more than the start's response"
    name = "Win rate by difference in length: " + "; ".join(
        f"{s.label} {percent(s.points[0][1])} at {number(s.points[0][0])} words, "
        f"{percent(s.points[-1][1])} at {number(s.points[-1][0])}"
        for s in series
    )
    return figure(
        "Win rate by length, prompts",
        line_chart(series, name=name, x_label=axis, as_percent=True),
        note="greedy; band: 95\u202f% interval" + ("; the first seed of each method" if report.seeds > 1 else ""),
        behind=table(["model", ("difference", "words"), ("win rate", "%"), "prompts"], rows),
    )


def by_length(run: Run) -> list[dict[str, Any]]:
    """The win rate of a run's greedy responses over the start's, in bins of equally many prompts by words gained."""
    metric = run.scores.get("win_by")
    if metric is None or run.role == START:
        return []
    ours, theirs = greedy_scores(run, run.role, metric), greedy_scores(run, START, metric)
    words = {role: _words(run, role) for role in (run.role, START)}
    ids = sorted(ours.keys() & theirs.keys(), key=lambda i: (words[run.role][i] - words[START][i], i))
    bins = min(BINS, len(ids) // FEWEST)
    if bins < 2:
        return []
    gained = {i: words[run.role][i] - words[START][i] for i in ids}
    return [
        {
            "words": sum(gained[i] for i in some) / len(some),
            **share([p[0] for i in some if (p := preference([ours[i]], [theirs[i]]))]).as_dict(),
        }
        for some in equal_parts(ids, gained, bins)
    ]


def equal_parts(ids: list[str], value: dict[str, int], bins: int) -> list[list[str]]:
    """Sorted ids cut into about equal parts, those with one value together; none is left out."""
    out: list[list[str]] = [[]]
    for i in ids:
        last = out[-1]
        if len(last) >= len(ids) / bins and value[last[-1]] != value[i]:
            out.append([])
        out[-1].append(i)
    if len(out) > 1 and len(out[-1]) < FEWEST:
        short = out.pop()
        out[-1] += short
    return out if len(out) > 1 else []


def _words(run: Run, role: str) -> dict[str, int]:
    return {
        g.id: len(c.text.split())
        for g in run.groups
        for c in g.candidates
        if (c.generator.get("role"), c.generator.get("mode")) == (role, "greedy")
    }
