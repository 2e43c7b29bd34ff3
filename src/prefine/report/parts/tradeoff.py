"""Quality against what it cost: time, memory, tokens and KL from the start, with the Pareto front of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from prefine.report.answer import same_start
from prefine.report.charts import Interval
from prefine.report.frontier import Offer, beaten_by, front
from prefine.report.html import Part, Report, cell, estimate, figure, figures, note, table
from prefine.report.phrases import duration, interval_text, listed
from prefine.report.scatter import Spot, scatter_chart
from prefine.report.svg import number, percent

ORDER = 30
Quality = Callable[[dict[str, Any]], dict[str, Any] | None]
"""The estimate of a run that stands on the y axis; None where it was not measured."""


@dataclass(frozen=True)
class Cost:
    """What a run cost: its name and unit on an axis, and its amount for a run, None where it is not known."""

    name: str
    axis: str
    of: Callable[[dict[str, Any]], float | None]


def part(report: Report) -> Part | None:
    quality, what, as_percent = _quality(report)
    have = [r for r in report.runs if (found := quality(r)) and found["value"] is not None]
    made, sentences = [], []
    for cost in _costs(report):
        known = [r for r in have if cost.of(r) is not None]
        if known:
            picture, sentence = _figure(report, known, quality, what, cost, as_percent=as_percent)
            made.append(picture)
            sentences.append(sentence)
    if not made:
        return None
    several = report.seeds > 1
    explained = note(
        "The line is the Pareto front: the best to be had for a cost. Filled marks lie on it; hollow ones are "
        "dominated: another method is at least as good and as cheap, as the numbers came out, certain or not."
        + (" Of a method with several seeds the large mark is their mean, the small ones are single seeds." * several),
        "Cost is that of the preference training alone; sampling and labeling are shared and stand under "
        "\u201cData and time\u201d. KL is how far a model moved to get there, measured on samples.",
        ""
        if same_start(report.data)
        else "The methods began with different models; what it took to make these is not counted.",
    )
    said = Markup("").join(Markup("<p>{}</p>").format(s) for s in sentences if s)
    return Part("tradeoff", "Quality against cost", said + figures(made) + explained)


def _quality(report: Report) -> tuple[Quality, str, bool]:
    """What is set against cost: win rates, or scores where the starts differ; accuracy where nothing was answered."""
    if any(r["win_rate"] for r in report.runs):
        if same_start(report.data):
            return lambda r: r["win_rate"], "win rate, greedy", True
        return lambda r: r["gold"] and r["gold"]["greedy"], f"{report.metric}, greedy", False
    return lambda r: r["reward_accuracy"], "reward accuracy on held-out pairs", True


def _costs(report: Report) -> list[Cost]:
    """Time in the unit that suits the longest run; memory; tokens."""
    devices = {str(r["device"] or "").partition(":")[0] for r in report.runs if r["device"]}
    kind = {"cuda": "GPU", "cpu": "CPU"}.get(next(iter(devices)), "device") if len(devices) == 1 else "device"
    hours = [r["device_hours"] for r in report.runs if r["device_hours"] is not None]
    longest = 3600 * max(hours, default=0.0)
    amount, unit = duration(longest)
    scale = amount / longest * 3600 if longest else 3600.0
    return [
        Cost(
            f"{kind} {unit}",
            f"{kind} {unit} of training",
            lambda r: None if r["device_hours"] is None else r["device_hours"] * scale,
        ),
        Cost("peak memory", "peak memory, MB", lambda r: r["peak_memory_mb"]),
        Cost("tokens", "tokens trained on", lambda r: None if r["tokens"] is None else float(r["tokens"])),
        Cost("KL from the start", "KL from the start, nats a response", _moved),
    ]


def _moved(run: dict[str, Any]) -> float | None:
    """How far the model moved; an estimate below 0 is noise around 0."""
    return max(0.0, run["kl"]["value"]) if run["kl"] and run["kl"]["value"] is not None else None


def _figure(
    report: Report, runs: list[dict[str, Any]], quality: Quality, what: str, cost: Cost, *, as_percent: bool
) -> tuple[Markup, str]:
    offers = [_offer(m["name"], runs, quality, cost) for m in report.data["methods"] if _of(m["name"], runs)]
    best = front(offers)
    names = {o.name for o in best}
    spots = []
    for r in runs:
        found = quality(r) or {}
        bar = Interval(found["value"], found.get("low"), found.get("high"), interval_text(found, as_percent=as_percent))
        x = float(cost.of(r) or 0.0)
        seed = len(_of(r["method"], runs)) > 1
        spots.append(Spot(r["method"], report.paint[r["method"]], x, bar, faded=r["method"] not in names, small=seed))
    for o in offers:
        if len(_of(o.name, runs)) > 1:
            value = percent(o.quality) if as_percent else number(o.quality)
            bar = Interval(o.quality, None, None, f"{value}, mean over seeds")
            spots.append(Spot(o.name, report.paint[o.name], o.cost, bar, faded=o.name not in names))
    alternative = f"{what} against {cost.axis}: " + "; ".join(
        f"{o.name} {percent(o.quality) if as_percent else number(o.quality)} at {number(o.cost)}"
        f"{', on the front' if o.name in names else ', dominated'}"
        for o in offers
    )
    picture = scatter_chart(
        spots,
        name=alternative,
        x_label=cost.axis,
        front=[(o.cost, o.quality) for o in best],
        as_percent=as_percent,
        from_zero=True,
    )
    rows = [
        [
            report.row(r),
            cell(cost.of(r)),
            estimate(quality(r), as_percent=as_percent),
            "front" if r["method"] in names else "dominated",
        ]
        for r in runs
    ]
    head = ["model", (cost.name, cost.axis), (what, "%" if as_percent else "mean over prompts"), "Pareto"]
    behind = table(head, rows, left=(3,))
    return figure(f"{what[:1].upper()}{what[1:]}, by {cost.name}", picture, behind=behind), _said(offers, cost)


def _of(method: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in runs if r["method"] == method]


def _offer(method: str, runs: list[dict[str, Any]], quality: Quality, cost: Cost) -> Offer:
    """A method by the means over its seeds."""
    mine = _of(method, runs)
    return Offer(
        method,
        sum(cost.of(r) or 0.0 for r in mine) / len(mine),
        sum((quality(r) or {})["value"] for r in mine) / len(mine),
    )


def _said(offers: list[Offer], cost: Cost) -> str:
    """Who is dominated by whom; nothing for one method."""
    dominated = {o.name: [b.name for b in beaten_by(o, offers)] for o in offers}
    parts = [f"{name} by {listed(better)}" for name, better in dominated.items() if better]
    if len(offers) < 2:
        return ""
    if not parts:
        return f"By {cost.name}, no method is dominated: what is better also costs more."
    return f"By {cost.name}, dominated (no better and no cheaper): {'; '.join(parts)}."
