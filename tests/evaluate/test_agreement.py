import numpy as np
import pytest

from prefine.evaluate.agreement import cohens_kappa


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: equal .7, chance .5 * .6 + .5 * .4 = .5, kappa .4 (a textbook table)
    ours = ["y"] * 25 + ["n"] * 25
    theirs = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    k = cohens_kappa(ours, theirs)
    assert k.value == pytest.approx(0.4) and k.equal == pytest.approx(0.7) and k.n == 50
    assert k.low is not None and k.high is not None and 0.1 < k.low < 0.4 < k.high < 0.7


def test_kappa_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, 200)
    b = np.where(rng.random(200) < 0.5, a, rng.integers(0, 3, 200))
    assert cohens_kappa(a.tolist(), b.tolist()).value == pytest.approx(metrics.cohen_kappa_score(a, b))


def test_full_agreement_none_and_chance():
    assert cohens_kappa(["a", "b", "a"], ["a", "b", "a"]).value == 1
    assert cohens_kappa(["a", "b"], ["b", "a"]).value == -1
    same = cohens_kappa(["a"] * 4, ["a"] * 4)
    assert same.value is None and same.equal == 1
    assert cohens_kappa([], []).n == 0
    with pytest.raises(ValueError, match="the same items"):
        cohens_kappa(["a"], [])


def test_the_interval_repeats_with_its_seed():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, 60).tolist(), rng.integers(0, 2, 60).tolist()
    assert cohens_kappa(a, b, seed=2) == cohens_kappa(a, b, seed=2) != cohens_kappa(a, b, seed=3)
