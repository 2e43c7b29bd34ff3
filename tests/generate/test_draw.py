"""Who of a pool answers: chances, strata, and that one prompt's draw says nothing about another's."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.generate.draw import draw, inclusion


def test_chances_by_hand():
    assert inclusion([1, 1, 1, 1], 2, [False] * 4) == [0.5] * 4
    # Three of weights 1, 1, 6: the last one always, the others share what is left.
    assert inclusion([1, 1, 6], 2, [False] * 3) == [0.5, 0.5, 1.0]
    assert inclusion([1, 1, 1], 2, [True, False, False]) == [1.0, 0.5, 0.5]
    assert inclusion([1, 2], 2, [False, False]) == [1.0, 1.0]


WEIGHTS = st.lists(st.floats(0.1, 10), min_size=2, max_size=8)


@given(WEIGHTS, st.data())
def test_always_k_distinct_members_and_strata_in_their_shares(weights, data):
    k = data.draw(st.integers(1, len(weights)))
    strata = data.draw(st.lists(st.sampled_from("ab"), min_size=len(weights), max_size=len(weights)))
    always = [i == 0 for i in range(len(weights))]
    chances = inclusion(weights, k, always)
    assert math.isclose(sum(chances), k, rel_tol=1e-9)
    assert all(0 <= c <= 1 for c in chances)
    for name in range(5):
        found = draw(weights, strata, always, k, name)
        assert len(set(found)) == len(found) == k
        assert 0 in found
        for stratum in "ab":
            free = [i for i in range(len(weights)) if strata[i] == stratum and chances[i] < 1]
            share = math.fsum(chances[i] for i in free)
            got = sum(i in found for i in free)
            assert math.floor(share - 1e-6) <= got <= math.ceil(share + 1e-6)


def test_each_member_is_drawn_as_often_as_its_weight_says():
    weights, n = [1.0, 1.0, 2.0, 4.0], 4000
    seen = Counter(i for name in range(n) for i in draw(weights, ["s"] * 4, [False] * 4, 2, "group", name))
    # Chances 2 w / 8 = .25, .25, .5 and 1.
    for i, chance in enumerate([0.25, 0.25, 0.5, 1.0]):
        assert abs(seen[i] - n * chance) <= 4 * math.sqrt(n * chance * (1 - chance))


def test_two_of_a_small_stratum_never_come_together():
    strata = ["small", "small", "large", "large"]
    pairs = {tuple(draw([1.0] * 4, strata, [False] * 4, 2, name)) for name in range(300)}
    assert pairs == {(0, 2), (0, 3), (1, 2), (1, 3)}


@pytest.mark.parametrize("seed", range(3))
def test_draws_repeat(seed):
    assert draw([1, 2, 3], ["", "", ""], [False] * 3, 2, seed, "g") == draw(
        [1, 2, 3], ["", "", ""], [False] * 3, 2, seed, "g"
    )
