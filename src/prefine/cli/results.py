"""The numbers of a run's report as a table on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = (
    "model",
    "win, greedy",
    "win, T = 1",
    "vs cooled start",
    "held-out pairs",
    "score",
    "words, greedy",
    "KL",
    "s",
    "MB",
)
"""Shares are in percent; score and words are those of greedy responses; s and MB are those of training alone."""
PLAIN_WIDTH = 140
"""Columns of the table where the output is not a terminal."""


def show_results(run: Path) -> None:
    """Print the table of `run/results.json`: one line per trained model, intervals at 95 %, empty columns left out."""
    from rich.console import Console
    from rich.table import Table

    data = json.loads((run / "results.json").read_text())
    starts = data.get("starts") or [data.get("start") or {}]
    rows: list[tuple[str, ...]] = [
        (str(s.get("label", "start")), "", "", "", "", *_answers(s), "", "", "") for s in starts
    ]
    for r in data["runs"]:
        shares = (_share(r.get(key)) for key in ("win_rate", "win_rate_t1", "cooled_start", "reward_accuracy"))
        costs = ((r.get("kl") or {}).get("value"), 2), (r.get("seconds"), 0), (r.get("peak_memory_mb"), 0)
        rows.append((str(r["name"]), *shares, *_answers(r), *(_number(value, digits) for value, digits in costs)))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    filled = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    for i in filled:
        table.add_column(COLUMNS[i], justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[i] for i in filled))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    said = data.get("answer")
    if said:
        console.print(" ".join([said["headline"], *said["lines"]]), markup=False, highlight=False)
    console.print(table)
    if any(len(m["seeds"]) > 1 for m in data.get("methods") or []):
        console.print(_over_seeds(data))
    if data.get("comparisons"):
        console.print(_comparisons(data["comparisons"]))
    if any(r.get("benchmarks") for r in data["runs"]):
        console.print(_benchmarks(data["runs"]))


CERTAIN = 0.05


def _comparisons(found: list[dict[str, Any]]) -> Any:
    """Methods against the start and each other: wins with their interval, p after Holm, what could have been found."""
    from rich.table import Table

    from prefine.report.answer import open_over_seeds, seeds_interval

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    names = ["compared", "wins, greedy", "p (Holm)", "detectable", "over seeds", ""]
    seeds = [c.get("over_seeds") or {} for c in found]
    if not any(s.get("low") is not None for s in seeds):
        names.remove("over seeds")
    for name in names:
        table.add_column(name, justify="left" if name in ("compared", "") else "right", no_wrap=True)
    for c, over in zip(found, seeds, strict=True):
        won = c["win_rate"]
        p, detectable = won["adjusted"], won["detectable"]
        certain = p is not None and p < CERTAIN
        table.add_row(
            f"{c['a']} and {c['b']}",
            _share(won),
            "" if p is None else "< .001" if p < 0.001 else f"{p:.3f}",
            "" if detectable is None else f"{100 * detectable:.1f}",
            *([_ends(over)] if "over seeds" in names else []),
            "not certain" if not certain else "with these seeds" if open_over_seeds(seeds_interval(c)) else "certain",
        )
    return table


def _ends(over: dict[str, Any]) -> str:
    return "" if over.get("low") is None else f"[{100 * over['low']:.1f}, {100 * over['high']:.1f}]"


def _over_seeds(data: dict[str, Any]) -> Any:
    """Methods with several seeds: mean and standard deviation over them."""
    from rich.table import Table

    from prefine.report.spreads import spreads

    columns = spreads(data)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, name in enumerate(("mean ± sd", *(head for head, _, _ in columns))):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in zip((str(m["name"]) for m in data["methods"]), *(cells for _, cells, _ in columns), strict=True):
        table.add_row(*row)
    return table


def _benchmarks(runs: list[dict[str, Any]]) -> Any:
    """Judged benchmarks: the score that each is known by, with its interval, and how many verdicts it rests on."""
    from rich.table import Table

    from prefine.report.parts.benchmarks import main_score

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("benchmark", "model", "", "score", "verdicts", "failed", "judge"):
        table.add_column(name, justify="right" if name in ("score", "verdicts", "failed") else "left", no_wrap=True)
    for run in runs:
        for name, found in (run.get("benchmarks") or {}).items():
            for line in found["scores"].get("by_category") or [found["scores"]]:
                what, text = main_score(line)
                who = " ".join(filter(None, (str(run["name"]), line.get("category"))))
                counts = (str(line.get(k, "")) for k in ("n_parsed", "n_failed"))
                table.add_row(name, who, what, text, *counts, str(found["judge"].get("name", "")))
    return table


def _answers(model: dict[str, Any]) -> tuple[str, str]:
    """The mean score and number of words of a model's greedy responses."""
    score = ((model.get("gold") or {}).get("greedy") or {}).get("value")
    words = (((model.get("length") or {}).get("greedy") or {}).get("words") or {}).get("value")
    return _number(score, 3), _number(words, 1)


def _share(found: dict[str, Any] | None) -> str:
    if not found or found.get("value") is None:
        return ""
    if found.get("low") is None:
        return f"{100 * found['value']:.1f}"
    return f"{100 * found['value']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
