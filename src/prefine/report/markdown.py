"""The results as tables for papers: the best in bold, intervals in brackets, marks for what is certain, explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefine.report.answer import CERTAIN, START, answer
from prefine.report.phrases import interval_text
from prefine.report.spreads import several_seeds, spreads
from prefine.report.svg import DASH, number
from prefine.report.text import plain

BETTER = "\u2021"
LIKE_BEST = "\u2020"


@dataclass
class Column:
    """A column of values by row; the best one is set in bold where more (or less) is better."""

    head: str
    cells: list[str]
    values: list[float | None]
    higher: bool | None = None
    starts: int = 1
    """How many of the first rows are starts, which are in no competition."""

    def lines(self) -> list[str]:
        """The cells with the best of them in bold."""
        known = [v for v in self.values[self.starts :] if v is not None]
        best = (max(known) if self.higher else min(known)) if known and self.higher is not None else None
        rivals = sum(v == best for v in known)
        return [
            f"**{c}**" if i >= self.starts and best is not None and v == best and rivals < len(known) else c
            for i, (c, v) in enumerate(zip(self.cells, self.values, strict=True))
        ]


def markdown(data: dict[str, Any]) -> str:
    """results.md: the answer, the main table, one of all metrics where there are more, seeds, and what marks mean."""
    title = plain(data["title"] or data["run"])
    said = answer(data)
    parts = [f"# {title}", " ".join([said.headline, *said.lines]), _seeds(data), _table(data, _main(data))]
    if more := _metrics(data):
        parts.append(_table(data, more))
    return "\n\n".join(part for part in [*parts, _legend(data)] if part) + "\n"


def _entries(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The starts, an empty one where none was measured, and the runs."""
    return [*_starts(data), *data["runs"]]


def _starts(data: dict[str, Any]) -> list[dict[str, Any]]:
    return data["starts"] or [{}]


def _table(data: dict[str, Any], columns: Sequence[Column]) -> str:
    """Columns side by side; those with nothing in them are left out, the start as well where it has nothing."""
    kept = [c for c in columns if any(cell not in (DASH, "") for cell in c.cells)]
    names = [s.get("label", START) for s in _starts(data)] + [r["name"] for r in data["runs"]]
    rows = [list(row) for row in zip(map(_cell, names), *(c.lines() for c in kept), strict=True)]
    if not data["starts"]:
        rows = rows[1:]
    return _lines(["model", *(_cell(c.head) for c in kept)], rows)


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _main(data: dict[str, Any]) -> list[Column]:
    """Win rates, score, length, distance, accuracy, cost."""
    runs = data["runs"]
    # Of several seeds the table of methods has the marks.
    marks = {} if several_seeds(data) else _marks(data)

    def shares(head: str, key: str, marked: bool = False) -> Column:
        cells = [interval_text(r[key]) + (marks.get(r["method"], "") if marked and r[key] else "") for r in runs]
        return Column(head, [*[""] * len(none), *cells], [*none, *(_value(r[key]) for r in runs)], True)

    none: list[None] = [None] * len(_starts(data))
    metric = next((r["gold"]["metric"] for r in runs if r["gold"]), "score")
    columns = [
        shares("win, greedy", "win_rate", marked=True),
        shares("win, T=1", "win_rate_t1"),
        shares("vs cooled start", "cooled_start"),
        _estimates(f"{metric}, greedy", [(e.get("gold") or {}).get("greedy") for e in _entries(data)], True),
        _estimates(f"{metric}, T=1", [(e.get("gold") or {}).get("t1") for e in _entries(data)], True),
        _plain(*_words(_entries(data))),
        _estimates("KL", [*none, *(r["kl"] for r in runs)], None),
        shares("reward accuracy", "reward_accuracy"),
        _plain("seconds", [*none, *(r["seconds"] for r in runs)]),
    ]
    return _placed(data, columns)


def _marks(data: dict[str, Any]) -> dict[str, str]:
    """By method what is certain of its greedy win rate."""
    first = {c["a"]: c for c in data["comparisons"] if c["b"] == START}
    pairs = {frozenset((c["a"], c["b"])): c for c in data["comparisons"] if c["b"] != START}
    best = answer(data).method

    def mark(method: str) -> str:
        against, rival = first.get(method), pairs.get(frozenset((method, best)))
        out = BETTER if against and against["win_rate"]["adjusted"] < CERTAIN else ""
        return out + (LIKE_BEST if rival and rival["win_rate"]["adjusted"] >= CERTAIN else "")

    return {m["name"]: mark(m["name"]) for m in data["methods"]}


def _placed(data: dict[str, Any], columns: list[Column]) -> list[Column]:
    """The columns with the starts out of the competition, and no best one among single seeds."""
    for column in columns:
        column.starts = len(_starts(data))
        column.higher = None if several_seeds(data) else column.higher
    return columns


def _metrics(data: dict[str, Any]) -> list[Column]:
    """Metrics beside the deciding one, of responses and of corpora, and task benchmarks."""
    runs, entries = data["runs"], _entries(data)
    deciding = next((r["gold"]["metric"] for r in runs if r["gold"]), None)
    out = []
    for group, where in (("metrics", "greedy"), ("corpus", "greedy")):
        found = [(e.get(group) or {}).get(where) or {} for e in entries]
        for name in dict.fromkeys(n for f in found for n in f if group == "corpus" or n != deciding):
            way = next(
                (w for r in runs if (w := (r["signatures"].get(name) or {}).get("higher_is_better")) is not None), None
            )
            head = f"{name}, corpus" if group == "corpus" else name
            out.append(_estimates(head, [f.get(name) for f in found], way))
    tasks = [e.get("tasks") or {} for e in entries]
    for name in dict.fromkeys(n for t in tasks for n in t):
        found = [t.get(name) for t in tasks]
        out.append(Column(name, [interval_text(f) for f in found], [_value(f) for f in found], True))
    return _placed(data, out)


def _value(found: dict[str, Any] | None) -> float | None:
    return (found or {}).get("value")


def _estimates(head: str, found: Sequence[dict[str, Any] | None], higher: bool | None) -> Column:
    return Column(head, [interval_text(f, as_percent=False) for f in found], [_value(f) for f in found], higher)


def _plain(head: str, values: Sequence[float | None]) -> Column:
    return Column(head, [DASH if v is None else number(v) for v in values], list(values))


def _words(entries: Sequence[dict[str, Any]]) -> tuple[str, list[float | None]]:
    """Words of a sample, or of a greedy response where nothing was sampled; the head says which."""
    lengths = [e.get("length") or {} for e in entries]
    mode, head = ("t1", "words, T=1") if any(found.get("t1") for found in lengths) else ("greedy", "words, greedy")
    return head, [((found.get(mode) or {}).get("words") or {}).get("value") for found in lengths]


def _seeds(data: dict[str, Any]) -> str:
    """Methods over their seeds, with marks for what is certain; empty for one seed."""
    if not several_seeds(data):
        return ""
    marks = _marks(data)
    names = [m["name"] for m in data["methods"]]
    columns = []
    for head, cells, values in spreads(data):
        shown = [c + marks[n] for c, n in zip(cells, names, strict=True)] if head == "win, greedy" else cells
        columns.append(Column(head, shown, values, True, 0))
    rows = [list(row) for row in zip(map(_cell, names), *(c.lines() for c in columns), strict=True)]
    return _lines(["method", *(_cell(c.head) for c in columns)], rows)


def _cell(text: str) -> str:
    return plain(text).replace("|", "/")


def _legend(data: dict[str, Any]) -> str:
    """What brackets, bold and marks mean, as far as they occur."""
    said = ["Brackets: 95 % intervals over prompts."]
    if several_seeds(data):
        said.append("±: standard deviation over seeds; over seeds: 95 % interval of the mean win rate (Student's t).")
    if len(data["methods"] if several_seeds(data) else data["runs"]) > 1:
        said.append("Bold: the best of its column.")
    if data["comparisons"]:
        said.append(f"{BETTER} differs from the start (p < {CERTAIN:g}, Holm).")
        if len(data["methods"]) > 1:
            said.append(f"{LIKE_BEST} cannot be told from the best method head to head (p ≥ {CERTAIN:g}, Holm).")
        sizes = [c["win_rate"]["detectable"] for c in data["comparisons"] if c["win_rate"]["detectable"]]
        if sizes:
            said.append(f"Smallest difference found four times in five: {100 * max(sizes):.1f} points of a win rate.")
    return " ".join(said)
