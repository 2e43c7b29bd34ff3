"""The numbers of a run's report as a table on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("model", "win, greedy", "win, T = 1", "vs cooled start", "held-out pairs", "score", "words", "KL", "s", "MB")
"""Shares are in percent; score and words are those of greedy responses; s and MB are those of training alone."""
PLAIN_WIDTH = 140
"""Columns of the table where the output is not a terminal."""


def show_results(run: Path) -> None:
    """Print the table of `run/results.json`: one line per trained model, intervals at 95 %, empty columns left out."""
    from rich.console import Console
    from rich.table import Table

    data = json.loads((run / "results.json").read_text())
    rows: list[tuple[str, ...]] = [("start", "", "", "", "", *_answers(data.get("start") or {}), "", "", "")]
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
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)


def _answers(model: dict[str, Any]) -> tuple[str, str]:
    """The mean score and number of words of a model's greedy responses."""
    score = ((model.get("gold") or {}).get("greedy") or {}).get("value")
    words = (((model.get("length") or {}).get("greedy") or {}).get("words") or {}).get("value")
    return _number(score, 3), _number(words, 1)


def _share(found: dict[str, Any] | None) -> str:
    if not found or found.get("value") is None:
        return ""
    return f"{100 * found['value']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
