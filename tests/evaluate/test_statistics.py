import numpy as np
import pytest

from prefine.evaluate.statistics import mean, preference, share, win_rate


def test_mean_and_standard_error_by_hand():
    e = mean([1.0, 2.0, 3.0, 6.0])
    # sum of squares about 3: 4 + 1 + 0 + 9 = 14; sd = sqrt(14 / 3); error = sd / 2
    assert e.value == 3.0 and e.n == 4
    assert e.standard_error == pytest.approx((14 / 3) ** 0.5 / 2)
    assert e.low is not None and e.high is not None and 1.0 <= e.low < 3.0 < e.high <= 6.0


def test_interval_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).beta(2, 1, 150)
    ours = mean(values, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=7).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.003)
    assert ours.high == pytest.approx(theirs.high, abs=0.003)


def test_interval_of_two_values_is_worked_out_by_hand():
    # means of two draws from {0, 1}: 0 (1/4), .5 (1/2), 1 (1/4); so the 2.5 % and 97.5 % points are 0 and 1,
    # and the middle half ends inside the mass at .5
    assert (mean([0.0, 1.0]).low, mean([0.0, 1.0]).high) == (0.0, 1.0)
    half = mean([0.0, 1.0], level=0.4)
    assert (half.low, half.high) == (0.5, 0.5)


def test_weights_make_a_ratio():
    # 1 of 1 and 1 of 3 pairs right: 2 of 4
    e = mean([1.0, 1 / 3], [1, 3])
    assert e.value == pytest.approx(0.5)
    # linearized: w (v - .5) / mean(w) = .25 and -.25; sqrt((.0625 + .0625) / (1 * 2)) = .25
    assert e.standard_error == pytest.approx(0.25)


def test_chunks_do_not_matter_for_coverage_and_seeds_repeat(monkeypatch):
    values = np.random.default_rng(0).normal(size=40)
    whole = mean(values, seed=5)
    assert mean(values, seed=5) == whole
    assert mean(values, seed=6) != whole
    monkeypatch.setattr("prefine.evaluate.statistics.DRAWS_AT_ONCE", 4000)
    chunked = mean(values, seed=5)
    assert chunked.low == pytest.approx(whole.low, abs=0.02) and chunked.value == whole.value


def test_nothing_and_one_value():
    assert mean([]).as_dict() == {"value": None, "low": None, "high": None, "n": 0, "standard_error": None}
    assert mean([0.3]).as_dict() == {"value": 0.3, "low": None, "high": None, "n": 1, "standard_error": None}
    with pytest.raises(ValueError, match="one length"):
        mean([1.0], [1.0, 2.0])


def test_preference_counts_pairs_and_ties():
    assert preference([0.5], [0.5]) == (0.5, 1, 1)
    # .2 loses to .5, ties with .2; .9 wins twice: (1 + 1 + 0 + .5) / 4
    assert preference([0.2, 0.9], [0.5, 0.2]) == (0.625, 1, 4)
    assert preference([0.1 + 0.2], [0.3]) == (0.5, 1, 1)
    assert preference([None], [1.0]) is None
    assert preference([None, 1.0], [0.0]) == (1.0, 0, 1)


def test_win_rate_by_hand():
    w = win_rate([[1.0], [0.0], [0.5], [1.0], [None]], [[0.0], [1.0], [0.5], [0.0], [0.0]])
    # win, loss, tie, win; the last prompt has no score
    assert w.value == pytest.approx(2.5 / 4)
    assert (w.n, w.ties, w.comparisons, w.missing) == (4, 1, 4, 1)
    assert w.low is not None and w.high is not None and w.low < 0.625 < w.high


def test_win_rate_of_equal_models_is_exactly_half():
    scores = [[0.1, 0.7], [0.4, 0.4], [0.9, 0.2]]
    w = win_rate(scores, scores)
    assert (w.value, w.low, w.high) == (0.5, 0.5, 0.5)


def test_win_rates_of_two_sides_add_up():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, (60, 3)).tolist(), rng.integers(0, 4, (60, 3)).tolist()
    ours, theirs = win_rate(a, b), win_rate(b, a)
    assert ours.value is not None and theirs.value is not None and ours.low is not None
    assert ours.value + theirs.value == pytest.approx(1)
    assert ours.low == pytest.approx(1 - theirs.high, abs=1e-9)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        e = mean(rng.binomial(1, 0.6, 120).astype(float), resamples=600)
        covered += e.low <= 0.6 <= e.high
    assert 0.90 <= covered / 200 <= 0.99


def test_shares_of_all_or_none_get_the_exact_bound():
    # Clopper-Pearson for 10 of 10 at 95 %: .025 ** (1 / 10) = .6915
    assert share([1.0] * 10).low == pytest.approx(0.6915, abs=1e-4) and share([1.0] * 10).high == 1.0
    assert share([0.0] * 10).high == pytest.approx(1 - 0.6915, abs=1e-4) and share([0.0] * 10).low == 0.0
    assert share([0.5] * 10).low == share([0.5] * 10).high == 0.5
    assert share([1.0, 0.0, 1.0]) == mean([1.0, 0.0, 1.0])
    assert share([]).value is None and share([1.0]).low is None


def test_exact_bound_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    exact = stats.binomtest(26, 26).proportion_ci(method="exact")
    assert share([1.0] * 26).low == pytest.approx(exact.low)
