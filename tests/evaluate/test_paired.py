import numpy as np
import pytest

from prefine.evaluate.paired import against_baseline, holm, mcnemar_p, paired_difference, sign_flip_p, wilson


def test_difference_by_hand():
    # differences 1, 2, 3, 0 (the fifth prompt has no score): mean 1.5, squares 5, error sqrt(5 / 3 / 4)
    d = paired_difference([2.0, 4.0, 5.0, 1.0, None], [1.0, 2.0, 2.0, 1.0, 7.0])
    assert d.value == 1.5 and d.n == 4 and d.missing == 1
    assert d.standard_error == pytest.approx((5 / 12) ** 0.5)
    assert d.detectable == pytest.approx(2.8 * (5 / 12) ** 0.5)
    # signs of three differences that are not zero: all plus and all minus of 8 are as far from 0
    assert d.p_value == pytest.approx(0.25, abs=0.02)
    assert d.low is not None and d.high is not None and 0 <= d.low < 1.5 < d.high <= 3


def test_pairing_takes_away_what_prompts_share():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 5, 100)
    ours, theirs = hard + rng.normal(0.3, 0.2, 100), hard + rng.normal(0, 0.2, 100)
    d = paired_difference(ours.tolist(), theirs.tolist())
    assert d.low is not None and d.low > 0.2 and d.p_value is not None and d.p_value < 0.001
    other = paired_difference(theirs.tolist(), ours.tolist())
    assert other.value == pytest.approx(-(d.value or 0)) and other.p_value == d.p_value


def test_equal_systems_and_nothing():
    d = paired_difference([1.0, 2.0], [1.0, 2.0])
    assert (d.value, d.low, d.high, d.p_value) == (0, 0, 0, 1)
    empty = paired_difference([], [])
    assert (empty.value, empty.p_value, empty.detectable, empty.n) == (None, None, None, 0)


def test_the_sign_flip_p_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    gaps = np.random.default_rng(3).normal(0.25, 1, 40)
    exact = stats.permutation_test(
        (gaps, np.zeros(40)), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
        n_resamples=20_000, vectorized=True, rng=0,
    )  # fmt: skip
    assert sign_flip_p(gaps.tolist(), rounds=20_000) == pytest.approx(exact.pvalue, abs=0.012)


def test_the_observed_signs_count_as_a_round():
    assert sign_flip_p([1.0] * 60, rounds=99) == 1 / 100
    assert sign_flip_p([], rounds=99) is None


def test_chunks_of_signs_do_not_matter(monkeypatch):
    gaps = np.random.default_rng(0).normal(0.2, 1, 30).tolist()
    whole = sign_flip_p(gaps, rounds=8000)
    monkeypatch.setattr("prefine.evaluate.paired.DRAWS_AT_ONCE", 3000)
    assert sign_flip_p(gaps, rounds=8000) == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize(("ours", "theirs"), [(9, 2), (2, 9), (5, 5), (0, 6), (31, 12)])
def test_mcnemar_is_the_exact_binomial_test(ours, theirs):
    stats = pytest.importorskip("scipy.stats")
    assert mcnemar_p(ours, theirs) == pytest.approx(stats.binomtest(ours, ours + theirs).pvalue)


def test_mcnemar_by_hand():
    # one of four: (1 + 4) / 16 on each side
    assert mcnemar_p(1, 3) == pytest.approx(10 / 16) and mcnemar_p(0, 0) == 1


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (7, 25), (160, 805)])
def test_wilson_agrees_with_scipy(right, n):
    stats = pytest.importorskip("scipy.stats")
    assert wilson(right, n) == pytest.approx(tuple(stats.binomtest(right, n).proportion_ci(method="wilson")), abs=1e-12)


def test_wilson_without_trials():
    assert wilson(0, 0) is None


def test_holm_by_hand():
    # sorted .01, .02, .03, .04 times 4, 3, 2, 1 gives .04, .06, .06, .04, made monotone
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == [] and holm([0.02]) == [0.02]


def test_several_systems_against_one_baseline():
    rng = np.random.default_rng(2)
    baseline = rng.normal(0, 1, 60).tolist()
    systems = {k: [b + rng.normal(shift, 0.5) for b in baseline] for k, shift in (("a", 0.15), ("b", 0.3), ("c", 0.0))}
    found = against_baseline({**systems, "none": [None] * 60}, baseline)
    ps = [found[k].p_value for k in "abc"]
    assert [found[k].adjusted for k in "abc"] == pytest.approx(holm(ps))
    assert found["none"].adjusted is None and found["none"].missing == 60
    assert found["a"].value == pytest.approx(np.mean(np.array(systems["a"]) - baseline))
