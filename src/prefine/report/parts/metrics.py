"""Every metric, of single responses and of all together, with tests against the start and signatures."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.report.html import Part, Report, cell, estimate, folded, note, p_value, table

ORDER = 80
MODES = ("greedy", "t1")


def part(report: Report) -> Part | None:
    """Left out where the metric that decides win rates is the only one: the main table has it."""
    names = {m for r in report.runs for mode in r["metrics"].values() for m in mode}
    corpus = {m for r in report.runs for mode in r["corpus"].values() for m in mode}
    if not corpus and names <= {report.metric}:
        return None
    body = [_single(report, mode) for mode in MODES] if names else []
    body += [_corpus(report, mode) for mode in MODES] if corpus else []
    body.append(_signatures(report))
    return Part("metrics", "All metrics", Markup("\n").join(b for b in body if b))


def _called(report: Report, mode: str) -> str:
    return "greedy" if mode == "greedy" else report.temperature


def _single(report: Report, mode: str) -> Markup:
    """Means over prompts, and the paired difference from the start."""
    rows = []
    stored = "greedy" if mode == "greedy" else "sample"
    names = list(dict.fromkeys(m for r in report.runs for m in r["metrics"].get(mode) or {}))
    for metric in names:
        rows += _of_starts(report, "metrics", mode, metric)
        for run in report.runs:
            value = (run["metrics"].get(mode) or {}).get(metric)
            if value is None:
                continue
            gap = next((d for d in run["differences"] if (d["metric"], d["mode"]) == (metric, stored)), None)
            rows.append(
                [
                    report.row(run),
                    metric,
                    estimate(value, as_percent=False, mark=_mark(run, gap)),
                    estimate(gap, as_percent=False),
                    p_value(gap and gap["adjusted"]),
                    cell(gap and gap["detectable"]),
                    cell(value["n"]),
                ]
            )
    if not rows:
        return Markup("")
    head = ["model", "metric", ("mean", "over prompts"), ("difference", "from the start")]
    head += [("p", "Holm"), ("detectable", "difference"), "prompts"]
    title = Markup("<h3>{}</h3>").format(f"Means over prompts, {_called(report, mode)}")
    made = title + table(head, rows, left=(1,))
    return (
        made
        if mode == "greedy"
        else folded(f"Means over prompts, {_called(report, mode)}", table(head, rows, left=(1,)))
    )


def _of_starts(report: Report, group: str, mode: str, metric: str) -> list[list[Any]]:
    """A row for each start model that has the metric."""
    found = [(s["label"], ((s.get(group) or {}).get(mode) or {}).get(metric)) for s in report.data["starts"]]
    return [
        [report.name(label, None), metric, estimate(value, as_percent=False), *[cell(None)] * 4]
        for label, value in found
        if value
    ]


def _mark(run: dict[str, Any], gap: dict[str, Any] | None) -> str:
    """Better or worse than the start for certain, where the metric says which way is better."""
    better = (run["signatures"].get(gap["metric"]) or {}).get("higher_is_better") if gap else None
    if gap is None or better is None or gap["adjusted"] is None or gap["adjusted"] >= 0.05 or not gap["value"]:
        return ""
    return "wins" if (gap["value"] > 0) == better else "loses"


def _corpus(report: Report, mode: str) -> Markup:
    """Metrics of all responses together: no means over prompts, so they have tests of their own."""
    rows = []
    for metric in dict.fromkeys(m for r in report.runs for m in r["corpus"].get(mode) or {}):
        rows += _of_starts(report, "corpus", mode, metric)
        for run in report.runs:
            value = (run["corpus"].get(mode) or {}).get(metric)
            if value:
                gap = (((run["win_rate"] if mode == "greedy" else run["win_rate_t1"]) or {}).get("corpus") or {}).get(
                    metric
                )
                gap = gap or {}
                rows.append(
                    [
                        report.row(run),
                        metric,
                        estimate(value, as_percent=False),
                        estimate(gap, as_percent=False),
                        p_value(gap.get("bootstrap_p")),
                        p_value(gap.get("randomization_p")),
                        cell(value.get("n")),
                    ]
                )
    if not rows:
        return Markup("")
    head = ["model", "metric", ("value", "all responses"), ("difference", "from the start"), ("p", "paired bootstrap")]
    head += [("p", "randomization"), "prompts"]
    title = Markup("<h3>{}</h3>").format(f"Of all responses together, {_called(report, mode)}")
    return title + table(head, rows, left=(1,)) + note("These two p-values are not corrected for the number of models.")


def _signatures(report: Report) -> Markup:
    """What the numbers depend on."""
    known: dict[str, dict[str, Any]] = {}
    for run in report.runs:
        for name, facts in run["signatures"].items():
            known.setdefault(name, facts)
    rows = []
    for name, facts in known.items():
        told = {k: v for k, v in facts.items() if k not in ("higher_is_better", "scored", "missing")}
        text = "; ".join(f"{k}: {_flat(v)}" for k, v in told.items()) or "none"
        better = facts.get("higher_is_better")
        direction = "says nothing" if better is None else "higher is better" if better else "lower is better"
        lost = ", ".join(f"{n} {why}" for why, n in (facts.get("missing") or {}).items()) or "none"
        rows.append([name, direction, text, cell(facts.get("scored")), lost])
    if not rows:
        return Markup("")
    head = ["metric", "direction", "signature", ("scored", "different responses"), "without a score"]
    return folded("Signatures: what the numbers depend on", table(head, rows, left=(1, 2, 4)))


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={_flat(v)}" for k, v in value.items())
    return str(value)
