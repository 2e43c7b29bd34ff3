"""Scales, ticks and labels by hand; charts are well-formed and escape their text."""

from xml.etree import ElementTree

import pytest

from prefine.report.charts import Interval, IntervalRow, Series, interval_chart, line_chart, thin
from prefine.report.svg import Scale, apart, number, percent, span, tick_text, ticks


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0.31, 0.69, 4, [0.4, 0.5, 0.6]),
        (-3, 4, 5, [-2, 0, 2, 4]),
        (0, 118, 5, [0, 50, 100]),
        (5, 5, 5, [5]),
    ],
)
def test_ticks_are_round(low, high, about, expected):
    assert ticks(low, high, about) == pytest.approx(expected)


def test_scale_maps_ends_and_survives_one_value():
    assert [Scale(0, 10, 100, 0)(v) for v in (0, 5, 10)] == [100, 50, 0]
    assert Scale(3, 3, 0, 10)(3) == 5


def test_span_leaves_room():
    low, high = span([1.0, 1.0])
    assert low < 1 < high
    assert span([0.0, 0.0]) == (-1.0, 1.0)


def test_numbers_as_text():
    assert number(0.0123456) == "0.0123" and number(1234.5) == "1,234" and number(-2.5) == "\u22122.50"
    assert (
        number(0) == "0" and number(3e-7) == "3.00e-07" and number(9.998) == "10.0" and number(0.0009999) == "0.00100"
    )
    assert percent(0.5625) == "56.2\u202f%"
    assert tick_text(0.5, 0.5) == "0.5" and tick_text(200_000, 200_000) == "200k" and tick_text(1e6, 1e6) == "1M"


def test_labels_stay_apart_and_inside():
    placed = apart([10, 11, 50, 100], 14, 0, 100)
    assert placed == [10, 24, 50, 100]
    crowded = apart([98, 99, 100], 14, 0, 100)
    assert sorted(crowded) == [72, 86, 100]
    assert apart([], 14, 0, 100) == []


def test_line_chart_is_well_formed_and_escapes():
    series = [Series('<b>"dpo"', 0, [(1, 0.7), (10, 0.5)], band=[(1, 0.6, 0.8), (10, 0.4, 0.6)], dots=[(10, 0.55)])]
    svg = ElementTree.fromstring(line_chart(series, name="Loss & more"))
    assert svg.get("aria-label") == "Loss & more"
    assert '<b>"dpo"' in [t.text for t in svg.iter("text")]
    assert "held out" in (svg.get("data-hover") or "")


def test_flat_and_single_point_curves_are_drawn():
    for points in ([(1, 2.0)], [(1, 2.0), (2, 2.0)]):
        assert "nan" not in str(line_chart([Series("a", 0, points)], name="flat"))


def test_interval_chart_draws_each_seed_and_values_without_bounds():
    rows = [IntervalRow("a", 0, [Interval(0.6, 0.5, 0.7), Interval(0.55, None, None)], "57 %")]
    html = str(interval_chart(rows, name="wins"))
    assert html.count('class="dot"') == 2 and html.count('class="whisker"') == 1
    ElementTree.fromstring(html)


def test_values_that_are_no_shares_are_not_in_percent():
    html = str(interval_chart([IntervalRow("a", 0, [Interval(-0.2, -0.4, 0.1)], "-.2")], name="k", as_percent=False))
    assert "%<" not in html and "\u22120.4" in html and "width:" in html


def test_long_curves_are_thinned_but_keep_their_ends():
    points = [(i, i) for i in range(10_000)]
    assert len(thin(points)) == 240 and thin(points)[0] == (0, 0) and thin(points)[-1] == (9999, 9999)
