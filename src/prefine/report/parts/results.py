"""The main table: quality, distance from the start, cost, for every run; and the methods over their seeds."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.report.charts import Interval, IntervalRow, interval_chart
from prefine.report.findings import summary, verdict
from prefine.report.html import Cell, Part, Report, bounds, cell, estimate, figure, folded, note, table
from prefine.report.phrases import interval_text, spread_text
from prefine.report.svg import number, percent

ORDER = 10
WINS = (("win_rate", "greedy", False), ("win_rate_t1", "{t}", True), ("cooled_start", "vs cooled start", True))
TIMES = "\u00d7"
ABSENT = {"kl": "KL", "win_rate": "win rate", "reward_accuracy": "reward accuracy", "cooled_start": "cooled start"}


def part(report: Report) -> Part:
    said = Markup("").join(Markup("<p>{}</p>").format(s) for s in summary(report.data)[1:])
    body = [
        _picture(report),
        folded("In words", said) if said else "",
        _methods(report),
        _runs(report),
        _explained(report),
        _pairs(report),
    ]
    reasons = sorted({f"{ABSENT.get(k, k)}: {v}" for r in report.runs for k, v in r["absent"].items()})
    if reasons:
        body.append(note(f"Not measured: {'; '.join(reasons)}."))
    return Part("results", "Results", Markup("\n").join(body))


def _picture(report: Report) -> Markup:
    """Every method's win rates against the start: greedy, samples, and samples against the cooled start."""
    rows: list[IntervalRow] = []
    lines: list[list[Any]] = []
    for method in report.data["methods"]:
        mine = [r for r in report.runs if r["method"] == method["name"]]
        first = True
        for key, label, hollow in WINS:
            have = [r for r in mine if r[key] and r[key]["value"] is not None]
            if not have:
                continue
            words = label.format(t=report.temperature)
            text = spread_text(method[key]) if len(have) > 1 else interval_text(have[0][key])
            name = f"{method['name']}, {words}" if first else words
            intervals = [_interval(r, r[key]) for r in have]
            rows.append(IntervalRow(name, report.paint[method["name"]], intervals, text, hollow, first))
            lines += [[report.row(r), words, estimate(r[key]), cell(r[key]["n"])] for r in have]
            first = False
    if not rows:
        return Markup("")
    prompts = next((f"{r['prompts']:,}" for r in report.runs if r["prompts"]), "0")
    alternative = "Win rates against the start with 95 % intervals: " + "; ".join(f"{r.label} {r.text}" for r in rows)
    return figure(
        "Win rate against the start",
        interval_chart(rows, name=alternative),
        note=f"share of comparisons by {report.metric} on {prompts} held-out prompts, ties half; bars: 95\u202f% "
        "intervals, paired bootstrap over prompts"
        + ("; one bar per seed, beside them mean ± standard deviation over seeds" if report.seeds > 1 else ""),
        behind=table(["model", "mode", ("win rate", "%"), "prompts"], lines, left=(1,)),
    )


def _interval(run: dict[str, Any], found: dict[str, Any]) -> Interval:
    return Interval(
        found["value"],
        found.get("low"),
        found.get("high"),
        f"{run['name']}: {interval_text(found)}, {found['n']} prompts",
    )


def _methods(report: Report) -> Markup:
    """Means over seeds, with what other seeds would give."""
    if report.seeds < 2:
        return Markup("")
    shares = (("win_rate", "win rate", "greedy"), ("win_rate_t1", "win rate", report.temperature))
    shares += (("cooled_start", "vs cooled start", report.temperature),)
    metric = report.metric or "score"
    numbers = (("gold_greedy", metric, "greedy"), ("gold_t1", metric, report.temperature), ("kl", "KL", "nats"))
    numbers += (("seconds", "training", "s"),)
    shown = [(k, n, u, k in {s[0] for s in shares}) for k, n, u in (*shares, *numbers)]
    shown = [x for x in shown if any(m[x[0]] for m in report.data["methods"])]
    by_start = {c["a"]: c for c in report.data["comparisons"] if c["b"] == "start"}
    rows = []
    for m in report.data["methods"]:
        over = (by_start.get(m["name"]) or {}).get("over_seeds")
        rows.append(
            [
                report.name(m["name"], m["name"]),
                len(m["seeds"]),
                *(_spread(m[key], as_percent) for key, _, _, as_percent in shown),
                Cell(bounds(over), over["value"]) if over and over["low"] is not None else cell(None),
            ]
        )
    head = ["method", "seeds", *((n, u) for _, n, u, _ in shown), ("over seeds", "95 %, win rate greedy")]
    return (
        Markup("<h3>Methods over their seeds</h3>")
        + table(head, rows, caption="mean ± standard deviation over seeds")
        + note(
            "The last column is the interval of the mean over training seeds on these prompts (Student's t, from three "
            "seeds on, cut at 0 and 100\u202f%); the intervals of single runs say what other prompts would give."
        )
        + Markup("<h3>All runs</h3>")
    )


def _spread(value: dict[str, Any] | None, as_percent: bool) -> Cell:
    return Cell(spread_text(value, as_percent=as_percent), value["mean"]) if value else cell(None)


def _runs(report: Report) -> Markup:
    """One row per model."""
    columns = [c for c in _columns(report) if any(c[1](r).sort is not None for r in report.runs)]
    rows = [[report.row(r), *(make(r) for _, make, _ in columns)] for r in report.runs]
    marks = [""] * len(rows)
    starts = report.data["starts"]
    rows = [[report.name(s["label"], None), *(made(s) for _, _, made in columns)] for s in starts] + rows
    marks = ["start"] * len(starts) + marks
    return table(["model", *(head for head, _, _ in columns)], rows, name="runs", marks=marks, label="every model")


def _columns(report: Report) -> list[tuple[Any, Any, Any]]:
    """Head, cell of a run, cell of the start."""
    t, metric = report.temperature, report.metric or "score"

    def won(key: str) -> Any:
        def make(run: dict[str, Any]) -> Cell:
            found = run[key]
            more = f"at T = {found['temperature']:.2f}" if found and key == "cooled_start" else ""
            return estimate(found, mark={"wins": "wins", "loses": "loses"}.get(verdict(found) or "", ""), more=more)

        return make

    def gold(mode: str) -> Any:
        return lambda entry: estimate(entry["gold"] and entry["gold"][mode], as_percent=False)

    def words(entry: dict[str, Any]) -> Cell:
        found = entry["length"]["t1"] or entry["length"]["greedy"]
        if not found or found["words"]["value"] is None:
            return cell(None)
        ratio = f"{TIMES} {number(found['words_ratio'])}" if found["words_ratio"] else ""
        text = Markup("<b>{}</b>").format(number(found["words"]["value"]))
        return Cell(
            text + Markup('<span class="ci">{}</span>').format(ratio) if ratio else text, found["words"]["value"]
        )

    def cost(run: dict[str, Any]) -> Cell:
        if run["seconds"] is None:
            return cell(None)
        memory = f"{number(run['peak_memory_mb'])} MB" if run["peak_memory_mb"] else ""
        return Cell(Markup('{}<span class="ci">{}</span>').format(number(run["seconds"]), memory), run["seconds"])

    samples = next((r["sampling"]["num_samples"] for r in report.runs if r["sampling"]), 0)
    even, nothing = Cell(percent(0.5, 0), 0.5), cell(None)
    return [
        (("win rate", "greedy, %"), won("win_rate"), lambda _: even),
        (("win rate", f"{t}, %"), won("win_rate_t1"), lambda _: even),
        (("vs cooled start", f"{t}, %"), won("cooled_start"), lambda _: nothing),
        ((metric, "greedy"), gold("greedy"), gold("greedy")),
        ((metric, t), gold("t1"), gold("t1")),
        (("words", t if any(r["length"]["t1"] for r in report.runs) else "greedy"), words, words),
        (("distinct", f"of {samples}"), lambda r: cell(r["distinct"]), lambda s: cell(s["distinct"])),
        (("KL", "nats"), lambda r: estimate(r["kl"], as_percent=False), lambda _: Cell("0", 0.0)),
        (("reward acc.", "held-out pairs, %"), lambda r: estimate(r["reward_accuracy"]), lambda _: nothing),
        (("training", "s, peak MB"), cost, lambda _: nothing),
    ]


def _explained(report: Report) -> Markup:
    """What the marks and columns mean."""
    runs = report.runs
    won = any(r["win_rate"] for r in runs)
    cooled = (
        "The cooled start is the untrained model at the temperature whose samples are as diverse as the trained "
        "model's: what is won against it is more than sharpening."
    )
    return note(
        "Square brackets: 95\u202f% intervals over prompts.",
        "▲ the whole interval is above 50\u202f%, ▼ below; no mark: cannot be told apart." if won else "",
        cooled if any(r["cooled_start"] for r in runs) else "",
        "KL (nats a response) is how far the trained model moved from its start." if any(r["kl"] for r in runs) else "",
        "Click a column, or press Enter on its name, to sort.",
    )


def _pairs(report: Report) -> Markup:
    rows = [
        [
            report.row(r),
            estimate(found),
            *(estimate(found["by"].get(k)) for k in ("logp", "start_logp", "avg_logp", "start_avg_logp")),
            Cell(f"{found['pairs']:,}" + (f" ({found['ties']} tied)" if found["ties"] else ""), found["pairs"]),
        ]
        for r in report.runs
        if (found := r["reward_accuracy"]) and found["value"] is not None
    ]
    if not rows:
        return Markup("")
    head = ["model", ("implicit reward", "%"), ("log-prob", "trained, %"), ("log-prob", "start, %")]
    head += [("mean log-prob", "trained, %"), ("mean log-prob", "start, %"), "pairs"]
    title = "Held-out pairs: how often the chosen response ranks first"
    return folded(title, table(head, rows), open=not any(r["win_rate"] for r in report.runs))
