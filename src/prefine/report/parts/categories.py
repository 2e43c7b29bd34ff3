"""Win rates by the kind of prompt, where prompts carry one."""

from __future__ import annotations

from prefine.report.charts import Interval, IntervalRow, interval_chart
from prefine.report.html import Part, Report, estimate, figure, note, table
from prefine.report.phrases import interval_text, spread_text
from prefine.report.results import spread
from prefine.report.text import plain

ORDER = 40
MOST = 40
"""Categories that are drawn; the table has all of them."""


def part(report: Report) -> Part | None:
    runs = [r for r in report.runs if (r["win_rate"] or {}).get("families")]
    names = sorted({f for r in runs for f in r["win_rate"]["families"]})
    if not names:
        return None
    rows = []
    for family in names[:MOST]:
        first = True
        for method in report.data["methods"]:
            mine = [r for r in runs if r["method"] == method["name"] and _value(r, family) is not None]
            if mine:
                found = [r["win_rate"]["families"][family] for r in mine]
                label = f"{plain(family, 40)}, {method['name']}" if first else method["name"]
                text = interval_text(found[0])
                if len(found) > 1:
                    text = spread_text(spread([f["value"] for f in found]))
                intervals = [
                    Interval(f["value"], f["low"], f["high"], f"{r['name']}: {interval_text(f)}, {f['n']} prompts")
                    for r, f in zip(mine, found, strict=True)
                ]
                rows.append(IntervalRow(label, report.paint[method["name"]], intervals, text, first=first))
                first = False
    sizes = {f: max(r["win_rate"]["families"][f]["n"] for r in runs if f in r["win_rate"]["families"]) for f in names}
    behind = table(
        ["model", *((f, f"{sizes[f]} prompts, %") for f in names)],
        [[report.row(r), *(estimate(r["win_rate"]["families"].get(f)) for f in names)] for r in runs],
    )
    picture = figure(
        "Win rate against the start, by category",
        interval_chart(rows, name="By category: " + "; ".join(f"{r.label} {r.text}" for r in rows)),
        note="share of comparisons, greedy; bars: 95\u202f% intervals over the prompts of the category"
        + ("; one bar per seed, beside them mean ± standard deviation over seeds" if report.seeds > 1 else ""),
        behind=behind,
    )
    caution = note(
        "Intervals are of each category by itself and not corrected for their number: of twenty, one leaves out its "
        "true value by chance."
    )
    return Part("categories", "By category", picture + caution)


def _value(run: dict, family: str) -> float | None:
    return (run["win_rate"]["families"].get(family) or {}).get("value")
