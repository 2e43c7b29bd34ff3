"""The numbers of a run's report as a table on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PLAIN_WIDTH = 120
"""Columns of the table where the output is not a terminal."""


def show_results(run: Path) -> None:
    """Print the table of `run/results.json`: one line per trained model, intervals at 95 %."""
    from rich.console import Console
    from rich.table import Table

    data = json.loads((run / "results.json").read_text())
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in (
        "model",
        "win rate, greedy",
        "win rate, T = 1",
        "against cooled start",
        "score",
        "words",
        "KL",
        "s",
        "MB",
    ):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    start = data.get("start") or {}
    table.add_row("start", "", "", "", *_answers(start), "", "", "")
    many = len({r.get("seed") for r in data["runs"]}) > 1
    for r in data["runs"]:
        table.add_row(
            f"{r['name']} seed {r['seed']}" if many else str(r["name"]),
            *(_share(r.get(key)) for key in ("win_rate", "win_rate_t1", "cooled_start")),
            *_answers(r),
            _number((r.get("kl") or {}).get("value"), 2),
            _number(r.get("seconds"), 0),
            _number(r.get("peak_memory_mb"), 0),
        )
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)


def _answers(model: dict[str, Any]) -> tuple[str, str]:
    """The mean score and number of words of a model's greedy responses."""
    score = ((model.get("gold") or {}).get("greedy") or {}).get("value")
    words = (((model.get("length") or {}).get("greedy") or {}).get("words") or {}).get("value")
    return _number(score, 3), _number(words, 1)


def _share(found: dict[str, Any] | None) -> str:
    if not found or found.get("value") is None:
        return ""
    return f"{100 * found['value']:.1f} % [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
