"""Methods over their seeds as a table of text: mean, standard deviation, and what other seeds would give."""

from __future__ import annotations

from typing import Any

from prefine.report.answer import START, seeds_interval
from prefine.report.phrases import spread_text
from prefine.report.svg import DASH

MEASURES = (
    ("win_rate", "win, greedy", True),
    ("win_rate_t1", "win, T=1", True),
    ("cooled_start", "vs cooled start", True),
    ("gold_greedy", "{metric}, greedy", False),
    ("gold_t1", "{metric}, T=1", False),
    ("reward_accuracy", "reward accuracy", True),
)
"""Key of a method, head of its column, and whether it is a share. More is better in all of them."""


def several_seeds(data: dict[str, Any]) -> bool:
    """Whether a method has more than one: then methods compete, and no single run."""
    return any(len(m["seeds"]) > 1 for m in data["methods"])


def spreads(data: dict[str, Any]) -> list[tuple[str, list[str], list[float | None]]]:
    """Columns with a head, a text for each method and a value where more is better; those without a number are left
    out. The second one is the interval of the greedy win rate over seeds."""
    methods = data["methods"]
    metric = next((r["gold"]["metric"] for r in data["runs"] if r["gold"]), "score")
    none: list[float | None] = [None] * len(methods)
    out = [("seeds", [str(len(m["seeds"])) for m in methods], none)]
    for key, head, as_percent in MEASURES:
        found = [m[key] for m in methods]
        cells = [spread_text(f, as_percent=as_percent) for f in found]
        out.append((head.format(metric=metric), cells, [f["mean"] if f else None for f in found]))
    first = {c["a"]: seeds_interval(c) for c in data["comparisons"] if c["b"] == START}
    ends = [first.get(m["name"]) for m in methods]
    out.insert(2, ("over seeds", [f"[{100 * e[0]:.1f}, {100 * e[1]:.1f}]" if e else DASH for e in ends], none))
    return [column for column in out if any(cell != DASH for cell in column[1])]
