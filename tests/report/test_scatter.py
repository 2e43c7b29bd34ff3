"""Spots, fronts and reliability: where things are drawn, and that text is escaped."""

from xml.etree import ElementTree

from prefine.report.charts import Interval
from prefine.report.scatter import Spot, reliability_chart, scatter_chart


def test_names_stay_apart_and_are_escaped():
    spots = [Spot(name, i, 10.0, Interval(0.5, 0.4, 0.6)) for i, name in enumerate(("dpo", "<pad>"))]
    svg = ElementTree.fromstring(scatter_chart(spots, name="q & a", x_label="s"))
    heights = [float(t.get("y") or 0) for t in svg.iter("text") if t.text in ("dpo", "<pad>")]
    assert len(heights) == 2 and abs(heights[0] - heights[1]) >= 14 and min(heights) > 0
    assert svg.get("aria-label") == "q & a"


def test_a_name_covers_no_mark_where_there_is_room():
    """Two groups whose spots stand over one another, and a name as wide as the gap between others."""
    spots = [Spot("one", 0, 10.0, Interval(v, v - 0.05, v + 0.05), small=True) for v in (0.3, 0.5)]
    spots += [Spot("two", 1, 10.0, Interval(0.7, 0.6, 0.9)), Spot("three", 2, 10.4, Interval(0.65, 0.55, 0.95))]
    svg = ElementTree.fromstring(scatter_chart(spots, name="n", x_label="s", from_zero=True))
    names = [t for t in svg.iter("text") if t.text in ("one", "two", "three")]
    assert len(names) == 3
    whiskers = [e for e in svg.iter("line") if e.get("class") == "whisker"]
    for name in names:
        middle, end, half = float(name.get("x") or 0), float(name.get("y") or 0), 3.5 * len(name.text or "")
        for w in whiskers:
            x, ends = float(w.get("x1") or 0), sorted(float(w.get(k) or 0) for k in ("y1", "y2"))
            assert not (abs(x - middle) < half and ends[0] < end and ends[1] > end - 9), name.text
    # single seeds are drawn small
    assert sorted(float(c.get("r") or 0) for c in svg.iter("circle")) == [2.6, 2.6]


def test_the_front_is_a_stair_and_dominated_spots_are_hollow():
    cheap, good, bad = (
        Spot(n, i, x, Interval(y, None, None))
        for i, (n, x, y) in enumerate((("cheap", 1.0, 0.5), ("good", 2.0, 0.7), ("bad", 3.0, 0.6)))
    )
    bad.faded = True
    svg = ElementTree.fromstring(
        scatter_chart([cheap, good, bad], name="f", x_label="s", front=[(1.0, 0.5), (2.0, 0.7)], from_zero=True)
    )
    line = next(p for p in svg.iter("polyline") if p.get("class") == "front")
    points = [tuple(map(float, p.split(","))) for p in (line.get("points") or "").split()]
    # flat to the next offer, up, and flat to the right end
    assert points[0][1] == points[1][1] and points[1][0] == points[2][0] and points[2][1] == points[3][1]
    assert points[0][1] > points[2][1] and points[3][0] > points[2][0]
    square, triangle = svg.iter("polygon")
    assert (square.get("fill"), triangle.get("fill")) == ("var(--run-1)", "var(--panel)")


def test_reliability_has_its_diagonal_and_stays_inside():
    spots = [Spot("dpo", 0, 55, Interval(0.4, 0.1, 0.7)), Spot("dpo", 0, 97, Interval(1.0, 0.9, 1.0))]
    svg = ElementTree.fromstring(reliability_chart([("dpo", 0, spots), ("dpo", 0, spots)], name="r"))
    diagonal = next(x for x in svg.iter("line") if x.get("class") == "reference")
    x1, y1, x2, y2 = (float(diagonal.get(k) or 0) for k in ("x1", "y1", "x2", "y2"))
    assert x1 < x2 and y1 > y2
    names = [t for t in svg.iter("text") if t.get("class") == "name"]
    assert [t.text for t in names] == ["dpo"]
    heights = [float(x.get(k) or 0) for x in svg.iter("line") for k in ("y1", "y2")]
    assert min(heights) >= 0 and max(heights) <= 250
