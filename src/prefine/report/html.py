"""What the parts of the page are made of: tables that sort, figures with the table behind them, notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from prefine.report.collect import Collection
from prefine.report.svg import DASH, dot, number, percent
from prefine.report.text import shown


@dataclass
class Report:
    """What a part is made from: the collected runs, their numbers as in results.json, how much to show."""

    found: Collection
    data: dict[str, Any]
    num_examples: int = 24
    paint: dict[str, int] = field(init=False)
    """The color of each method, in the order they were trained."""

    def __post_init__(self) -> None:
        self.paint = {method: i for i, method in enumerate(self.found.methods)}

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self.data["runs"]

    @property
    def seeds(self) -> int:
        """The most seeds that a method has."""
        return max(len(m["seeds"]) for m in self.data["methods"])

    @property
    def metric(self) -> str | None:
        """The metric that decides win rates."""
        return next((r["gold"]["metric"] for r in self.runs if r["gold"]), None)

    @property
    def temperature(self) -> str:
        """How samples are called."""
        return next((f"T = {r['sampling']['temperature']:g}" for r in self.runs if r["sampling"]), "T = 1")

    def name(self, label: str, method: str | None) -> Markup:
        """A model's name with the mark of its method; None is the start."""
        mark = dot(None if method is None else self.paint[method])
        return Markup("{}{}").format(mark, shown(label))

    def start_of(self, run: dict[str, Any]) -> dict[str, Any]:
        """What the model that a run began with was measured to be; empty where it was not."""
        return next((s for s in self.data["starts"] if s["name"] == run["start"]), {})

    def row(self, run: dict[str, Any]) -> Markup:
        """The name of a run, as the head of its row."""
        return self.name(run["name"], run["method"])


@dataclass
class Part:
    """A section of the page."""

    id: str
    title: str
    body: Markup


@dataclass
class Cell:
    """A cell of a table and what it sorts by: a number, None for nothing, or its own text."""

    html: Any
    sort: float | str | None = ""
    mark: str = ""


def cell(value: Any) -> Cell:
    """A number or text as a cell."""
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell(Markup('<span class="none">{}</span>').format(DASH), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(value if isinstance(value, Markup) else shown(value))
    return Cell(f"{value:,}" if isinstance(value, int) else number(value), value)


def share(value: float | None, digits: int = 1) -> Cell:
    """A share in percent."""
    return cell(None) if value is None else Cell(percent(value, digits), value)


def estimate(found: dict[str, Any] | None, *, as_percent: bool = True, mark: str = "", more: str = "") -> Cell:
    """A value with its interval below; `more` is a second line."""
    if not found or found.get("value") is None:
        return cell(None)
    text = Markup("<b>{}</b>").format(percent(found["value"]) if as_percent else number(found["value"]))
    if found.get("low") is not None and found.get("high") is not None:
        text += Markup('<span class="ci">{}</span>').format(bounds(found, as_percent=as_percent))
    if more:
        text += Markup('<span class="ci">{}</span>').format(more)
    return Cell(text, found["value"], mark)


def bounds(found: dict[str, Any], *, as_percent: bool = True) -> str:
    """`[53.0, 59.4]`"""
    as_text = (lambda v: f"{100 * v:.1f}") if as_percent else number
    return f"[{as_text(found['low'])}, {as_text(found['high'])}]"


def p_value(value: float | None) -> Cell:
    """A p-value; small ones as a bound."""
    if value is None:
        return cell(None)
    return Cell("< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1", value)


def table(
    head: Sequence[str | tuple[str, str]],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str = "",
    label: str = "",
    name: str = "",
    left: Sequence[int] = (),
    marks: Sequence[str] = (),
    sortable: bool = True,
) -> Markup:
    """A table whose first column names its rows. A head is a name, or a name and its unit.

    `left` are columns of text, `marks` classes of the rows, `name` the id; `label` is read instead of a caption.
    """
    heads = [h if isinstance(h, tuple) else (h, "") for h in head]
    top = Markup("").join(
        Markup('<th scope="col"{}>{}{}</th>').format(
            Markup(' class="left"') if i in left else "",
            shown(h),
            Markup("<small>{}</small>").format(shown(unit)) if unit else "",
        )
        for i, (h, unit) in enumerate(heads)
    )
    lines = [
        Markup("<tr{}>{}</tr>").format(
            Markup(' class="{}"').format(marks[k]) if k < len(marks) and marks[k] else "",
            Markup("").join(_cell(cell(value), i, left) for i, value in enumerate(row)),
        )
        for k, row in enumerate(rows)
    ]
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table{}{}>{}<thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(
        caption or label or ", ".join(h for h, _ in heads),
        Markup(' class="sortable"') if sortable else "",
        Markup(' id="{}"').format(name) if name else "",
        Markup("<caption>{}</caption>").format(caption) if caption else "",
        top,
        Markup("\n").join(lines),
    )


def _cell(made: Cell, column: int, left: Sequence[int]) -> Markup:
    if column == 0:
        return Markup('<th scope="row">{}</th>').format(made.html)
    classes = " ".join(filter(None, ("left" if column in left else "", made.mark)))
    return Markup("<td{}{}>{}</td>").format(
        "" if made.sort == "" else Markup(' data-v="{}"').format("" if made.sort is None else made.sort),
        Markup(' class="{}"').format(classes) if classes else "",
        made.html,
    )


def figure(title: str, picture: Markup, *, note: str = "", behind: Markup | None = None) -> Markup:
    """A picture with its title, what it shows in which unit, and the table that it was drawn from."""
    return Markup("<figure><figcaption><b>{}</b>{}</figcaption>{}{}</figure>").format(
        shown(title),
        Markup(' <span class="hint">{}</span>').format(shown(note)) if note else "",
        picture,
        folded("The numbers as a table", behind) if behind else "",
    )


def figures(made: Sequence[Markup]) -> Markup:
    """Several figures side by side, as far as there is room."""
    return Markup('<div class="charts">{}</div>').format(Markup("\n").join(made))


def folded(title: str, body: Markup, *, open: bool = False) -> Markup:
    """What is shown on a click."""
    return Markup("<details{}><summary>{}</summary>{}</details>").format(
        Markup(" open") if open else "", shown(title), body
    )


def note(*sentences: str) -> Markup:
    """A paragraph that explains; sentences that are empty are left out."""
    said = [shown(s) for s in sentences if s]
    return Markup('<p class="note">{}</p>').format(Markup(" ").join(said)) if said else Markup("")
