"""Charts as inline SVG: curves over steps, intervals around 50 %.

Every chart carries its points as data for the page's hover line. Colors are CSS variables, so one picture serves light
and dark pages; runs also differ by the shape of their dots.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

from prefine.report.svg import Scale, apart, color, line, marker, number, percent, span, text, tick_text, ticks

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 84, 14, 40
MOST_POINTS = 240
LABEL_GAP = 14


@dataclass
class Series:
    """One line: (x, y) points in order of x; `band` are (x, low, high); `dots` are drawn as hollow markers."""

    label: str
    color: int | None
    points: list[tuple[float, float]]
    band: list[tuple[float, float, float]] = field(default_factory=list)
    dots: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Interval:
    """A share with its 95 % interval; None bounds draw the value alone."""

    value: float
    low: float | None
    high: float | None
    note: str = ""


@dataclass
class IntervalRow:
    """A row of the interval chart: its name, color, one interval per seed, and the text at its right end."""

    label: str
    color: int | None
    intervals: list[Interval]
    text: str
    hollow: bool = False
    first: bool = False


def line_chart(
    series: Sequence[Series],
    *,
    name: str,
    x_label: str = "step",
    as_percent: bool = False,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Curves with names at their right ends, bands for the spread over seeds and hollow dots for held-out values."""
    drawn = [Series(s.label, s.color, thin(s.points), thin(s.band), thin(s.dots)) for s in series if s.points or s.dots]
    xs = [p[0] for s in drawn for p in (*s.points, *s.dots)]
    ys = [p[1] for s in drawn for p in (*s.points, *s.dots)] + [v for s in drawn for b in s.band for v in b[1:]]
    low, high = y_range or span(ys)
    x = Scale(min(0.0, *xs), max(xs), LEFT, WIDTH - RIGHT)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP)
    shown = (lambda v: percent(v)) if as_percent else number
    out = [frame(x, y, x_label, as_percent=as_percent)]
    for s in drawn:
        if s.band:
            edge = [f"{x(b[0]):g},{y(b[2]):g}" for b in s.band] + [f"{x(b[0]):g},{y(b[1]):g}" for b in s.band[::-1]]
            out.append(f'<polygon points="{" ".join(edge)}" fill="{color(s.color)}" class="band"/>')
        if s.points:
            path = " ".join(f"{x(px):g},{y(py):g}" for px, py in s.points)
            out.append(f'<polyline points="{path}" stroke="{color(s.color)}" class="curve"/>')
        out += [marker(x(px), y(py), s.color, hollow=True, size=3.5) for px, py in s.dots]
    ends = [(s.points or s.dots)[-1] for s in drawn]
    for s, end, at in zip(drawn, ends, apart([y(e[1]) for e in ends], LABEL_GAP, TOP, HEIGHT - BOTTOM), strict=True):
        out.append(text(x(end[0]) + 8, at + 4, s.label, cls="name", extra=f' style="fill:{color(s.color)}"'))
    hover = [
        {
            "label": s.label,
            "color": color(s.color),
            "points": [[x(a), y(b), f"{a:,.10g}", shown(b)] for a, b in s.points],
        }
        for s in drawn
    ] + [
        {
            "label": f"{s.label}, held out",
            "color": color(s.color),
            "points": [[x(a), y(b), f"{a:,.10g}", shown(b)] for a, b in s.dots],
        }
        for s in drawn
        if s.dots
    ]
    return svg(out, name, HEIGHT, {"x": x_label, "series": hover})


def interval_chart(
    rows: Sequence[IntervalRow], *, name: str, reference: float = 0.5, as_percent: bool = True
) -> Markup:
    """Shares with intervals, one row each, around a line at `reference`; the seeds of a row lie below each other.

    Made of boxes rather than one picture, so that its text keeps its size on a narrow screen.
    """
    values = [v for r in rows for i in r.intervals for v in (i.value, i.low, i.high) if v is not None]
    low, high = span([*values, reference], margin=0.08)
    x = Scale(max(low, -0.02 if as_percent else -1.02), min(high, 1.02), 0, 100)
    steps = ticks(x.low, x.high, 6)
    gap = steps[1] - steps[0] if len(steps) > 1 else 1.0
    lines = "".join(f'<i class="grid" style="left:{x(t):g}%"></i>' for t in steps)
    lines += f'<i class="reference" style="left:{x(reference):g}%"></i>'
    out = []
    for row in rows:
        seeds = "".join(_interval(i, x, row, k, len(row.intervals)) for k, i in enumerate(row.intervals))
        tall = 22 + 8 * (len(row.intervals) - 1)
        out.append(
            f'<div class="interval{" first" if row.first else ""}"><span class="name">{escape(row.label)}</span>'
            f'<span class="track" style="height:{tall}px">{lines}{seeds}</span>'
            f'<span class="value">{escape(row.text)}</span></div>'
        )
    axis = "".join(
        f'<span style="left:{x(t):g}%">{percent(t, 0) if as_percent else tick_text(t, gap)}</span>' for t in steps
    )
    out.append(f'<div class="interval axis"><span></span><span class="track">{axis}</span><span></span></div>')
    return Markup(f'<div class="intervals" role="img" aria-label="{escape(name)}">{"".join(out)}</div>')


def _interval(interval: Interval, x: Scale, row: IntervalRow, index: int, count: int) -> str:
    top = 11 + 8 * index
    out = ""
    if interval.low is not None and interval.high is not None:
        a, b = x(interval.low), x(interval.high)
        out = f'<i class="whisker" style="left:{a:g}%;width:{b - a:g}%;top:{top}px;background:{color(row.color)}"></i>'
    dot = marker(7, 7, row.color, hollow=row.hollow, size=4.6 if count == 1 else 3.4)
    return (
        f'{out}<svg class="dot" viewBox="0 0 14 14" style="left:{x(interval.value):g}%;top:{top}px">'
        f"<title>{escape(interval.note)}</title>{dot}</svg>"
    )


def thin(points: list) -> list:
    """At most `MOST_POINTS` points, evenly spread, the last one always among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(i * step)] for i in range(MOST_POINTS)]


def frame(x: Scale, y: Scale, x_label: str, *, as_percent: bool) -> str:
    """Grid, ticks and the name of the x axis."""
    out = []
    rows, columns = ticks(y.low, y.high, 5), ticks(x.low, x.high, 5)
    step_y = rows[1] - rows[0] if len(rows) > 1 else abs(rows[0]) or 1.0
    step_x = columns[1] - columns[0] if len(columns) > 1 else abs(columns[0]) or 1.0
    for t in rows:
        label = percent(t, 0 if step_y >= 0.00999 else 1) if as_percent else tick_text(t, step_y)
        out.append(line(x.start, y(t), x.end, y(t), "grid") + text(x.start - 7, y(t) + 4, label, anchor="end"))
    for t in columns:
        out.append(line(x(t), y.start, x(t), y.start + 4, "tick"))
        out.append(text(x(t), y.start + 17, tick_text(t, step_x), anchor="middle"))
    out.append(line(x.start, y.start, x.end, y.start, "tick"))
    out.append(text((x.start + x.end) / 2, y.start + 34, x_label, anchor="middle", cls="axis"))
    return "".join(out)


def svg(parts: list[str], name: str, height: float, hover: dict | None, *, width: float = WIDTH) -> Markup:
    """The picture with its text alternative, and the points that the page's hover line shows."""
    data = f' data-hover="{escape(json.dumps(hover, ensure_ascii=False))}"' if hover else ""
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(name)}" class="chart"{data}>'
        + "".join(parts)
        + "</svg>"
    )
