"""How far the judges behind the labels can be trusted: agreement, order, length, canaries."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.report.charts import Interval, IntervalRow, interval_chart
from prefine.report.html import Part, Report, cell, estimate, figure, note, share, table

ORDER = 100


def part(report: Report) -> Part | None:
    found = report.data["judges"]
    body = [_labelers(found["labelers"]), _agreement(found), _reports(found["reports"]), _canaries(found["reports"])]
    body = [b for b in body if b]
    if not body:
        return None
    warned = [f"{r['judge']}: {'; '.join(r['warnings'])}." for r in found["reports"] if r.get("warnings")]
    if warned:
        lines = Markup("").join(Markup("<li>{}</li>").format(w) for w in warned)
        body.append(Markup("<h3>Warnings</h3><ul>{}</ul>").format(lines))
    if not found["reports"]:
        body.append(note("prefine judge report RUN measures agreement, consistency, length bias and canaries as well."))
    return Part("judges", "Judges", Markup("\n").join(body))


def _labelers(labelers: list[dict[str, Any]]) -> Markup:
    """What the label stage itself counted."""
    if not labelers:
        return Markup("")
    seeds = len({one.get("seed") for one in labelers}) > 1
    rows = [
        [
            one["name"],
            *([cell(one.get("seed"))] if seeds else []),
            str(one.get("model") or "none"),
            cell(one.get("responses")),
            share(one["scored"] / one["responses"] if one.get("responses") else None),
            cell(one.get("mean")),
            cell(one.get("sd")),
            share(one.get("flip_rate")),
            cell(one.get("position_bias")),
            cell(one.get("seconds")),
        ]
        for one in labelers
    ]
    head = ["judge", *(["seed"] if seeds else []), "model", "responses"]
    head += [("scored", "%"), ("mean", "score"), ("sd", "score")]
    head += [("order decides", "% of pairs"), ("position bias", "of the first, 0 is none"), ("time", "s")]
    return Markup("<h3>Labels of the training data</h3>") + table(head, rows, left=(1 + seeds,))


def _agreement(found: dict[str, Any]) -> Markup:
    """Kappa of every two judges, and of every judge with gold, on the same pairs."""
    pairs = [(" and ".join(b["judges"]), b) for b in found["between"]]
    pairs += [(f"{r['judge']} and {r['gold']['scorer']} (gold)", r["gold"]) for r in found["reports"] if r.get("gold")]
    rows, lines = [], []
    for name, one in pairs:
        kappa, right = _interval(one, "kappa"), _interval(one, "accuracy")
        if kappa["value"] is None:
            continue
        text = f"kappa {kappa['value']:.2f}"
        rows.append(IntervalRow(name, len(rows), [Interval(**kappa, note=text)], text, first=True))
        lines.append(
            [name, estimate(kappa, as_percent=False), estimate(right), cell(one["pairs"]), cell(one["prompts"])]
        )
    if not rows:
        return Markup("")
    behind = table(["judges", ("kappa", "1 is full"), ("same verdict", "% of decided"), "pairs", "prompts"], lines)
    picture = interval_chart(
        rows,
        name="Agreement of judges: " + "; ".join(f"{r.label} {r.text}" for r in rows),
        reference=0.0,
        as_percent=False,
    )
    return figure(
        "Agreement of judges on the same pairs",
        picture,
        note="Cohen's kappa: 1 is full agreement, 0 what chance gives; bars: 95\u202f% intervals over prompts",
        behind=behind,
    )


def _interval(found: dict[str, Any], key: str) -> dict[str, Any]:
    low, high = found.get(f"{key}_interval") or (None, None)
    return {"value": found.get(key), "low": low, "high": high}


def _reports(reports: list[dict[str, Any]]) -> Markup:
    if not reports:
        return Markup("")
    rows = []
    for r in reports:
        position, length, again = r.get("position") or {}, r["length"]["judge"], r.get("consistency") or {}
        cost = r.get("cost_per_1000_responses") or {}
        rows.append(
            [
                r["judge"],
                cell(r["pairs"]["judged"]),
                share(r["pairs"]["tie_rate"]),
                share(position.get("flip_rate")),
                cell(length.get("correlation")),
                share(length.get("longer_wins")),
                share(again.get("same_verdict")),
                cell(cost.get("cost_usd")),
            ]
        )
    head = ["judge", "pairs", ("ties", "%"), ("order decides", "% of pairs"), ("length", "correlation")]
    head += [("longer wins", "%"), ("same verdict again", "%"), ("cost", "USD for 1000 responses")]
    return Markup("<h3>Judges by themselves</h3>") + table(head, rows)


def _canaries(reports: list[dict[str, Any]]) -> Markup:
    """How often a judge prefers an answer that was made to be bad."""
    kinds = list(dict.fromkeys(k for r in reports for k in r.get("canaries") or {}))
    if not kinds:
        return Markup("")
    rows = [[r["judge"], *(share(((r["canaries"] or {}).get(k) or {}).get("fell"), 0) for k in kinds)] for r in reports]
    head = ["judge", *((k.replace("_", " "), "% of canaries") for k in kinds)]
    return Markup("<h3>Bad answers that a judge preferred</h3>") + table(head, rows)
