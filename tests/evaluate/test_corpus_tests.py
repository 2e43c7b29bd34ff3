import itertools

import numpy as np
import pytest

from prefine.evaluate.corpus_tests import corpus_difference


def precision(counts: np.ndarray) -> float:
    return float(counts[0] / counts[1])


def f1(counts: np.ndarray) -> float:
    return float(2 * counts[0] / (counts[1] + counts[2]))


def test_the_metric_is_of_sums_not_a_mean_of_segments():
    ours, theirs = np.array([[1, 1], [0, 9]]), np.array([[0, 1], [2, 9]])
    found = corpus_difference(ours, theirs, precision, bootstraps=50, randomizations=50)
    assert (found.ours, found.theirs) == (0.1, 0.2) and found.value == pytest.approx(-0.1) and found.n == 2
    assert found.low <= found.value <= found.high


def test_randomization_by_hand():
    # three segments, all better by the same: exchanging none or all (2 of 8) is as far apart
    ours, theirs = np.array([[3, 4]] * 3), np.array([[1, 4]] * 3)
    found = corpus_difference(ours, theirs, precision, bootstraps=50, randomizations=8000)
    assert found.randomization_p == pytest.approx(0.25, abs=0.02)
    assert (found.low, found.high) == (0.5, 0.5)


def test_randomization_is_the_exact_one_of_small_corpora():
    rng = np.random.default_rng(5)
    ours, theirs = (
        np.column_stack([rng.integers(0, 6, 7), rng.integers(6, 9, 7), rng.integers(5, 9, 7)]) for _ in "ab"
    )
    real = abs(f1(ours.sum(0)) - f1(theirs.sum(0)))
    beyond = []
    for flips in itertools.product([False, True], repeat=7):
        mask = np.array(flips)[:, None]
        gap = f1(np.where(mask, theirs, ours).sum(0)) - f1(np.where(mask, ours, theirs).sum(0))
        beyond.append(abs(gap) >= real - 1e-12)
    found = corpus_difference(ours, theirs, f1, bootstraps=10)
    assert found.randomization_p == pytest.approx(np.mean(beyond), abs=0.02)


def test_for_a_mean_both_tests_are_those_of_prompts():
    from prefine.evaluate.paired import paired_difference

    rng = np.random.default_rng(6)
    a, b = rng.normal(0.1, 1, 80), rng.normal(0, 1, 80)
    counts = [np.column_stack([side, np.ones(80)]) for side in (a, b)]
    found = corpus_difference(*counts, precision, bootstraps=4000)
    plain = paired_difference(a.tolist(), b.tolist())
    assert found.value == pytest.approx(plain.value)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.03)
    assert found.randomization_p == pytest.approx(plain.p_value, abs=0.03)
    assert found.bootstrap_p == pytest.approx(plain.p_value, abs=0.05)


def test_p_values_count_the_observed_corpus_and_seeds_repeat():
    better = np.column_stack([np.full(60, 5), np.full(60, 6)])
    worse = np.column_stack([np.random.default_rng(0).integers(0, 4, 60), np.full(60, 6)])
    found = corpus_difference(better, worse, precision, bootstraps=99, randomizations=199)
    assert (found.bootstrap_p, found.randomization_p) == (1 / 100, 1 / 200)
    assert corpus_difference(better, worse, precision, bootstraps=99, randomizations=199) == found
    assert corpus_difference(worse, worse, precision, bootstraps=9, randomizations=9).randomization_p == 1


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="one shape"):
        corpus_difference(np.ones((3, 2)), np.ones((2, 2)), precision)
    with pytest.raises(ValueError, match="one shape"):
        corpus_difference(np.ones((0, 2)), np.ones((0, 2)), precision)
