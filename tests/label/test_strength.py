"""Bradley-Terry strengths against another way of fitting them, and cycles."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.label.strength import bradley_terry, has_cycle


def penalized(n, results, ridge):
    """The same optimum by a general minimizer of the negative log-likelihood."""
    scipy = pytest.importorskip("scipy.optimize")

    def loss(x):
        out = 0.0
        for i, j in combinations(range(n), 2):
            win = ridge / 2 + results.get((i, j), 0.0)
            lose = ridge / 2 + (1 - results[i, j] if (i, j) in results else 0.0)
            gap = x[i] - x[j]
            out += win * np.logaddexp(0, -gap) + lose * np.logaddexp(0, gap)
        return out + 1e-9 * (x.sum() ** 2)

    found = scipy.minimize(loss, np.zeros(n), method="BFGS", options={"gtol": 1e-10}).x
    return found - found.mean()


@pytest.mark.parametrize(
    ("n", "results"),
    [
        (2, {(0, 1): 0.8}),
        (3, {(0, 1): 0.9, (0, 2): 0.7, (1, 2): 0.2}),
        (4, {(0, 1): 1.0, (0, 2): 1.0, (0, 3): 1.0, (1, 2): 0.5, (1, 3): 0.9, (2, 3): 0.4}),
        (4, {(0, 1): 0.6, (2, 3): 0.3}),
    ],
)
def test_strengths_are_the_likeliest(n, results):
    assert bradley_terry(n, results, 0.1) == pytest.approx(penalized(n, results, 0.1), abs=1e-4)


def test_two_responses_by_hand():
    # (.8 + .05) wins against (.2 + .05): the strengths' ratio is 3.4.
    a, b = bradley_terry(2, {(0, 1): 0.8}, 0.1)
    assert (a - b, a + b) == (pytest.approx(math.log(3.4)), pytest.approx(0, abs=1e-12))
    assert bradley_terry(1, {}) == [0.0]
    with pytest.raises(ValueError, match="ridge must be above 0"):
        bradley_terry(2, {}, 0.0)


@given(st.permutations(range(4)), st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=6, max_size=6))
def test_strengths_do_not_depend_on_the_order(order, shares):
    results = dict(zip(combinations(range(4), 2), shares, strict=True))
    moved = {}
    for (i, j), p in results.items():
        a, b = order[i], order[j]
        moved[min(a, b), max(a, b)] = p if a < b else 1 - p
    before, after = bradley_terry(4, results), bradley_terry(4, moved)
    assert [after[order[i]] for i in range(4)] == pytest.approx(before, abs=1e-6)


def test_cycles():
    assert has_cycle(3, {(0, 1): 1.0, (1, 2): 0.9, (0, 2): 0.1})
    assert not has_cycle(3, {(0, 1): 1.0, (1, 2): 0.9, (0, 2): 0.8})
    assert not has_cycle(3, {(0, 1): 1.0, (1, 2): 0.9, (0, 2): 0.5})
    assert has_cycle(5, {(0, 1): 1.0, (1, 2): 1.0, (2, 3): 1.0, (0, 3): 0.0, (3, 4): 1.0})
