"""Points with their intervals as inline SVG: quality against cost with its front, wins against length, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from prefine.report.charts import BOTTOM, HEIGHT, LABEL_GAP, LEFT, RIGHT, TOP, WIDTH, Interval, frame, svg
from prefine.report.svg import Scale, apart, color, line, marker, number, span, text


@dataclass
class Spot:
    """A point: a number on x, a value with its interval on y. `faded` is drawn hollow; `small` is one seed of several,
    beside the spot that is their mean."""

    label: str
    color: int | None
    x: float
    y: Interval
    faded: bool = False
    small: bool = False


def scatter_chart(
    spots: Sequence[Spot],
    *,
    name: str,
    x_label: str,
    reference: float | None = None,
    front: Sequence[tuple[float, float]] = (),
    as_percent: bool = True,
    from_zero: bool = False,
    names: bool = True,
) -> Markup:
    """Spots with whiskers. `reference` is a line across, `front` a stair along the best offers, the cheapest first."""
    values = [v for s in spots for v in (s.y.value, s.y.low, s.y.high) if v is not None]
    low, high = span([*values, *([reference] if reference is not None else [])], margin=0.12)
    costs = [s.x for s in spots]
    left, right = (0.0, max(costs) * 1.08 or 1.0) if from_zero else span(costs, margin=0.15)
    x, y = Scale(left, right, LEFT, WIDTH - RIGHT), Scale(low, high, HEIGHT - BOTTOM, TOP)
    out = [frame(x, y, x_label, as_percent=as_percent)]
    if reference is not None:
        out.append(line(x.start, y(reference), x.end, y(reference), "reference"))
    if front:
        out.append(f'<polyline points="{_stair(front, x, y)}" class="front"/>')
    out += [_spot(s, x, y) for s in spots]
    if names:
        out += _names(spots, x, y)
    hover = [
        {"label": s.label, "color": color(s.color), "points": [[x(s.x), y(s.y.value), number(s.x), s.y.note]]}
        for s in spots
    ]
    return svg(out, name, HEIGHT, {"x": x_label, "series": hover, "near": True})


def reliability_chart(series: Sequence[tuple[str, int | None, Sequence[Spot]]], *, name: str) -> Markup:
    """Share right against confidence in percent; on the diagonal a model is right as often as it is sure."""
    bottom = min([0.45, *(s.y.low for _, _, spots in series for s in spots if s.y.low is not None)])
    x, y = Scale(48, 102, LEFT, WIDTH - RIGHT), Scale(max(0.0, bottom - 0.03), 1.03, HEIGHT - BOTTOM, TOP)
    out = [frame(x, y, "confidence, %", as_percent=True)]
    out.append(line(x(50), y(0.5), x(100), y(1.0), "reference"))
    hover = []
    for label, index, spots in series:
        points = " ".join(f"{x(s.x):g},{y(s.y.value):g}" for s in spots)
        out.append(f'<polyline points="{points}" stroke="{color(index)}" class="curve thin"/>')
        out += [_spot(s, x, y) for s in spots]
        points_of = [[x(s.x), y(s.y.value), number(s.x), s.y.note] for s in spots]
        hover.append({"label": label, "color": color(index), "points": points_of})
    out += _ends(series, x, y)
    return svg(out, name, HEIGHT, {"x": "confidence, %", "series": hover, "near": True})


def _ends(series: Sequence[tuple[str, int | None, Sequence[Spot]]], x: Scale, y: Scale) -> list[str]:
    """The names of the curves right of their ends, each once, none over another."""
    last = {label: (index, spots[-1]) for label, index, spots in reversed(series) if spots}
    heights = apart([y(end.y.value) for _, end in last.values()], LABEL_GAP, TOP, HEIGHT - BOTTOM)
    return [
        text(x(end.x) + 9, at + 4, label, cls="name", extra=f' style="fill:{color(index)}"')
        for (label, (index, end)), at in zip(last.items(), heights, strict=True)
    ]


def _stair(front: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """What is the best to be had for a cost: flat until the next offer of the front, and on to the right end."""
    points = []
    for i, (cost, quality) in enumerate(front):
        if i:
            points.append(f"{x(cost):g},{y(front[i - 1][1]):g}")
        points.append(f"{x(cost):g},{y(quality):g}")
    return " ".join([*points, f"{x.end:g},{y(front[-1][1]):g}"])


def _spot(spot: Spot, x: Scale, y: Scale) -> str:
    px = x(spot.x)
    out = [f"<g><title>{escape(f'{spot.label}: {spot.y.note}')}</title>"]
    if spot.y.low is not None and spot.y.high is not None:
        out.append(line(px, y(spot.y.low), px, y(spot.y.high), "whisker", f' style="stroke:{color(spot.color)}"'))
    size = {"size": 2.6} if spot.small else {}
    out.append(marker(px, y(spot.y.value), spot.color, hollow=spot.faded, **size) + "</g>")
    return "".join(out)


Box = tuple[float, float, float, float]
"""Left, top, right and bottom of what is drawn."""


def _names(spots: Sequence[Spot], x: Scale, y: Scale) -> list[str]:
    """The name of each group of spots beside one of them, where it covers the least of what is drawn already."""
    groups: dict[str, list[Spot]] = {}
    for s in spots:
        groups.setdefault(s.label, []).append(s)
    taken = [box for s in spots for box in _boxes(s, x, y)]
    out = []
    for label, same in sorted(groups.items(), key=lambda g: min(s.x for s in g[1])):
        places = _places(label, same, x, y)
        box = min(places, key=lambda place: sum(_overlap(place, other) for other in taken))
        taken.append(box)
        extra = f' style="fill:{color(same[0].color)}"'
        out.append(text((box[0] + box[2]) / 2, box[3] - 3, label, anchor="middle", cls="name", extra=extra))
    return out


def _boxes(spot: Spot, x: Scale, y: Scale) -> list[Box]:
    """What a spot covers: its mark and its whisker."""
    px, py = x(spot.x), y(spot.y.value)
    out = [(px - 6, py - 6, px + 6, py + 6)]
    if spot.y.low is not None and spot.y.high is not None:
        out.append((px - 1, y(spot.y.high), px + 1, y(spot.y.low)))
    return out


def _places(label: str, same: Sequence[Spot], x: Scale, y: Scale) -> list[Box]:
    """Where a name may stand, the best places first: over, under, right and left of its spots, inside the picture."""
    width = 7.0 * len(label)
    out = []
    for s in sorted(same, key=lambda s: s.small):
        px, py = x(s.x), y(s.y.value)
        top = y(s.y.value if s.y.high is None else s.y.high) - 4
        bottom = y(s.y.value if s.y.low is None else s.y.low) + 4 + LABEL_GAP
        for middle, end in ((px, top), (px, bottom), (px + 10 + width / 2, py + 7), (px - 10 - width / 2, py + 7)):
            out.append((middle - width / 2, end - LABEL_GAP, middle + width / 2, end))
    for at in range(TOP + LABEL_GAP, HEIGHT - BOTTOM, LABEL_GAP):
        out.append((x.end - width, at - LABEL_GAP, x.end, at))
    inside = [b for b in out if b[0] >= x.start and b[2] <= WIDTH and b[1] >= 0 and b[3] <= HEIGHT - BOTTOM]
    return inside or out


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
