"""Quantiles of Student's t are those of printed tables, and an interval is the one worked out by hand."""

import pytest

from prefine.student_t import t_interval, t_quantile


@pytest.mark.parametrize(
    ("freedom", "wanted"),
    # Tables of Student's t, two-sided 95 %.
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (9, 2.26216), (10, 2.22814), (30, 2.04227)],
)
def test_quantiles_of_t_are_those_of_the_tables(freedom, wanted):
    assert t_quantile(0.975, freedom) == pytest.approx(wanted, abs=1e-4)


def test_the_interval_of_a_mean_by_hand():
    # 1, 2, 3, 6: mean 3, sum of squares 14, sd sqrt(14 / 3), t(.975, 3) = 3.18245
    half = 3.18245 * (14 / 3) ** 0.5 / 2
    assert t_interval([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3 - half, 3 + half), abs=1e-4)
    assert t_interval([2.0, 2.0]) == (2.0, 2.0)
    assert t_interval([2.0]) is None
