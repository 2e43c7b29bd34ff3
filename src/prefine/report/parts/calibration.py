"""Implicit rewards as probabilities: whether a model is right as often as it is sure."""

from __future__ import annotations

from prefine.report.charts import Interval
from prefine.report.html import Part, Report, cell, estimate, figure, figures, note, share, table
from prefine.report.phrases import interval_text
from prefine.report.scatter import Spot, reliability_chart
from prefine.report.svg import number, percent

ORDER = 70


def part(report: Report) -> Part | None:
    runs = [r for r in report.runs if r["calibration"] and r["calibration"]["bins"]]
    if not runs:
        return None
    series, rows, said = [], [], []
    for run in runs:
        found = run["calibration"]
        spots = [
            Spot(
                run["name"],
                report.paint[run["method"]],
                100 * b["confidence"],
                Interval(b["right"], b["low"], b["high"], f"{percent(b['right'])} right of {b['pairs']} pairs"),
            )
            for b in found["bins"]
        ]
        series.append((run["method"], report.paint[run["method"]], spots))
        said.append(f"{run['name']} {interval_text(found['ece'])}")
        rows += [
            [
                report.row(run),
                f"{percent(b['from'], 0)} to {percent(b['to'], 0)}",
                share(b["confidence"]),
                estimate({"value": b["right"], "low": b["low"], "high": b["high"]}),
                cell(b["pairs"]),
            ]
            for b in found["bins"]
        ]
    errors = [
        [
            report.row(r),
            estimate(r["calibration"]["ece"]),
            number(r["calibration"]["beta"]),
            cell(r["calibration"]["pairs"]),
        ]
        for r in runs
    ]
    picture = figure(
        "Reliability on held-out pairs",
        reliability_chart(series, name="Share right against confidence; calibration errors: " + "; ".join(said)),
        note="share of pairs ranked as labeled (%) against the model's confidence; whiskers: 95\u202f% intervals",
        behind=table(["model", "confidence", ("mean", "%"), ("right", "%"), "pairs"], rows, left=(1,)),
    )
    head = ["model", ("calibration error", "expected, %"), "beta", "pairs"]
    explained = note(
        "P(chosen > rejected) = sigmoid(beta times the difference of log-ratios to the start). Above the dashed line a "
        "model is more often right than it is sure, below it less often. The expected calibration error is the mean "
        "distance from that line, weighted by pairs; with few pairs it comes out too large."
    )
    return Part("calibration", "Calibration of implicit rewards", figures([picture]) + table(head, errors) + explained)
