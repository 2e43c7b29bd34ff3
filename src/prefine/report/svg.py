"""The few pieces that all charts are made of: scales with round ticks, numbers as text, escaped SVG elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

COLORS = 8
"""Colors per page; the page's style sheet gives `--run-0` ... and their dark variants, runs beyond take them again."""


DASH = "\u2013"
"""Stands where nothing was measured."""


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] of the data to [start, end] of the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(self.start + share * (self.end - self.start), 2)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside [low, high], `about` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def span(values: Sequence[float], *, floor: float | None = None, margin: float = 0.06) -> tuple[float, float]:
    """The range of the values with a margin; equal values get room on both sides. `floor` is never undercut."""
    low, high = min(values), max(values)
    pad = (high - low) * margin or abs(high) * 0.1 or 1.0
    bottom = low - pad
    return (bottom if floor is None or low < floor else max(bottom, floor)), high + pad


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits, without an exponent where a reader would not expect one."""
    if value == 0:
        return "0"
    # Rounding may add a digit: 9.998 is 10.0.
    size = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if size < -4:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - size)}f}".replace("-", "\u2212")


def tick_text(value: float, step: float) -> str:
    """A tick's label with as many decimals as its neighbors need; thousands and millions as k and M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit and step >= limit / 10:
            return f"{value / limit:.10g}{unit}".replace("-", "\u2212")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    return f"{value:,.{decimals}f}".replace("-", "\u2212")


def percent(value: float, digits: int = 1) -> str:
    """A share as percent, `56.2 %`."""
    return f"{100 * value:.{digits}f}\u202f%"


def text(x: float, y: float, content: str, *, anchor: str = "start", cls: str = "label", extra: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{cls}"{extra}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, cls: str, extra: str = "") -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{cls}"{extra}/>'


def color(index: int | None) -> str:
    """The CSS color of a run; None is the start model."""
    return "var(--start)" if index is None else f"var(--run-{index % COLORS})"


SHAPES = ("circle", "square", "triangle", "diamond")


def marker(x: float, y: float, index: int | None, *, hollow: bool = False, size: float = 4.5) -> str:
    """A dot whose shape also tells the runs apart, for readers who do not see the colors."""
    shape = SHAPES[(index or 0) % len(SHAPES)]
    paint = f'fill="{"var(--panel)" if hollow else color(index)}" stroke="{color(index)}" stroke-width="1.6"'
    if shape == "circle":
        return f'<circle cx="{x:g}" cy="{y:g}" r="{size:g}" {paint}/>'
    corners = {
        "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        "triangle": [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
        "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
    }[shape]
    path = " ".join(f"{x + dx * size * 0.9:.2f},{y + dy * size * 0.9:.2f}" for dx, dy in corners)
    return f'<polygon points="{path}" {paint}/>'


def dot(index: int | None) -> Markup:
    """A method's marker for tables and legends."""
    return Markup(f'<svg class="dot-mark" viewBox="0 0 14 14" aria-hidden="true">{marker(7, 7, index, size=5)}</svg>')


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions close to `wanted`, at least `gap` apart and inside [low, high]: for labels that must not overlap."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], placed[-1] + gap if placed else low))
    over = placed[-1] - high if placed else 0
    if over > 0:
        placed[-1] = high
        for k in range(len(placed) - 2, -1, -1):
            placed[k] = min(placed[k], placed[k + 1] - gap)
    out = [0.0] * len(wanted)
    for position, i in zip(placed, order, strict=True):
        out[i] = position
    return out
