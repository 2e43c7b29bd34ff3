"""The scores of judged benchmarks as a table on standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from prefine.evaluate.benchmarks.results import Scored

PLAIN_WIDTH = 200
"""Columns of the table where the output is not a terminal."""

Line = dict[str, Any]
Column = tuple[str, Callable[[Line], str]]


def show_scores(scored: Scored) -> None:
    """Print a line for each model, numbers in percent, then what must be known of them. Empty columns are left out."""
    from rich.console import Console
    from rich.table import Table

    from prefine.cli.show import safe

    columns = _columns(scored)
    rows = [[safe(text(line)) for _, text in columns] for line in scored.models]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    filled = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    for i in filled:
        table.add_column(columns[i][0], justify="left" if columns[i][0] in _WORDS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[i] for i in filled))
    facts = ", ".join(str(scored.facts[k]) for k in ("version", "mode") if scored.facts.get(k))
    typer.echo(f"{scored.benchmark}{f' {facts}' if facts else ''}")
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, markup=False).print(table)
    for text in (*_absent(scored), *_agreement(scored), *scored.notes):
        typer.echo(f"- {safe(text)}")


_WORDS = ("model", "judge", "category")


def _columns(scored: Scored) -> list[Column]:
    named: list[Column] = [("model", _word("model"))]
    for key in ("category", "judge"):
        # A column in which all lines are the same says nothing that a reader would look for in a table.
        if len({line.get(key) for line in scored.models}) > 1:
            named.append((key, _word(key)))
    if scored.benchmark == "alpaca_eval":
        return named + _ALPACA_EVAL + _against(scored)
    if scored.benchmark == "arena_hard":
        return named + _ARENA_HARD
    return named + (_PAIRS if scored.facts.get("mode") == "pairwise" else _singles(scored))


def _word(key: str) -> Callable[[Line], str]:
    return lambda line: str(line.get(key) or "")


def _number(key: str, digits: int = 2) -> Callable[[Line], str]:
    return lambda line: _text(line.get(key), digits)


def _text(value: Any, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _between(value: str, low: str, high: str, digits: int = 2) -> Callable[[Line], str]:
    def text(line: Line) -> str:
        middle, ends = line.get(value), [line.get(k) for k in (low, high)]
        if middle is None or None in ends:
            return _text(middle, digits)
        return f"{middle:.{digits}f} [{ends[0]:.2f}, {ends[1]:.2f}]"

    return text


def _bounds(digits: int = 2) -> Callable[[Line], str]:
    return lambda line: "" if not line.get("bounds") else " to ".join(f"{b:.{digits}f}" for b in line["bounds"])


_COUNTS: list[Column] = [("n", _number("n_parsed")), ("failed", lambda r: str(r.get("n_failed") or ""))]
_ORDERS: list[Column] = [("first wins", _number("first_shown_wins", 1)), ("orders agree", _number("orders_agree", 1))]
_ALPACA_EVAL: list[Column] = [
    ("win rate", _between("win_rate", "low", "high", 4)),
    ("SE", _number("standard_error")),
    ("length-controlled", _between("length_controlled_winrate", "lc_low", "lc_high", 4)),
    ("LC SE", _number("lc_standard_error")),
    ("LC by row", _number("length_controlled_winrate_by_row", 4)),
    ("C", lambda line: "" if line.get("C") is None else f"{line['C']:.4g}"),
    ("discrete", _number("discrete_win_rate")),
    *_COUNTS,
    ("if missing were lost, won", _bounds()),
    ("length", _number("avg_length", 0)),
]
_ARENA_HARD: list[Column] = [
    ("score", _between("score", "low", "high")),
    ("mean vote", _number("mean_vote")),
    ("over prompts", lambda line: _range(line, "prompts_low", "prompts_high")),
    ("style-controlled", _between("style_controlled", "style_controlled_low", "style_controlled_high")),
    ("games", _number("n_parsed")),
    _COUNTS[1],
    ("if failed were lost, won", _bounds()),
    *_ORDERS,
]
_PAIRS: list[Column] = [
    ("adjusted win rate", _between("win_rate_adjusted", "low", "high")),
    ("win rate", _number("win_rate")),
    ("win", _number("win")),
    ("loss", _number("loss")),
    ("tie", _number("tie")),
    ("p", _number("p_value", 4)),
    *_COUNTS,
    *_ORDERS,
]


def _range(line: Line, low: str, high: str) -> str:
    return "" if line.get(low) is None else f"[{line[low]:.2f}, {line[high]:.2f}]"


def _singles(scored: Scored) -> list[Column]:
    found = list(dict.fromkeys(c for line in scored.models for c in line["categories"]))

    def of_category(category: str) -> Callable[[Line], str]:
        return lambda line: _text(line["categories"].get(category, {}).get("value"), 2)

    return [
        ("score", _between("score", "low", "high", 4)),
        ("turn 1", _number("turn_1", 4)),
        ("turn 2", _number("turn_2", 4)),
        *((c, of_category(c)) for c in found),
        *_COUNTS,
        ("if failed were 1, 10", _bounds()),
        *_against(scored, "win_rate_adjusted"),
    ]


def _against(scored: Scored, key: str | None = None) -> list[Column]:
    """The columns that compare with one model: a number, or the entry `key` of a comparison."""
    names = dict.fromkeys(k for line in scored.models for k in line if k.startswith("against "))

    def text(name: str) -> Callable[[Line], str]:
        return lambda line: _text((line.get(name) or {}).get(key) if key else line.get(name), 2)

    return [(name, text(name)) for name in names]


def _absent(scored: Scored) -> list[str]:
    why = dict.fromkeys(line.get("length_controlled_absent") for line in scored.models)
    return [f"no length-controlled win rate: {reason}" for reason in why if reason]


def _agreement(scored: Scored) -> list[str]:
    """A line for each judge and turn: how often it and people agree."""
    return [
        f"{judge}, {turn.replace('_', ' ')}: agrees with people in {_share(found['with_ties'])} votes, "
        f"without ties in {_share(found['without_ties'])}"
        for judge, turns in (scored.facts.get("agreement") or {}).items()
        for turn, found in turns.items()
    ]


def _share(found: dict[str, Any]) -> str:
    percent = "" if found["percent"] is None else f" ({found['percent']:.1f} %)"
    return f"{found['agree']} of {found['total']}{percent}"
