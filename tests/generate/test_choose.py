"""Which samples are kept."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from prefine.generate.choose import choose, edit_distance, farthest


def test_edit_distance_by_hand():
    assert edit_distance("a b c", "a x c") == 1 / 3
    assert edit_distance("a b", "a b c d") == 0.5
    assert edit_distance("", "") == 0
    assert edit_distance("a", "") == 1
    # Words, not letters.
    assert edit_distance("kitten", "sitting") == 1


def test_the_farthest_by_hand():
    numbers = ["0", "1", "10", "4", "9"]
    # From 0: 10 is farthest; then 4 (4 from 0), before 9 (1 from 10) and 1 (1 from 0); then 1, the first of two ties.
    assert farthest(numbers, 5, lambda a, b: abs(float(a) - float(b))) == [0, 2, 3, 1, 4]
    texts = ["a b c d", "a b c e", "w x y z", "a b c d"]
    # All words of the third differ; of the second and the fourth, one and none.
    assert choose(texts, 2, "maxmin") == [0, 2]
    assert choose(texts, 3, "maxmin") == [0, 1, 2]
    assert choose(texts, 4, "maxmin") == [0, 1, 2, 3]
    assert choose(texts, 2, "first") == [0, 1]


def test_random_depends_on_the_names_alone():
    texts = list("abcdefgh")
    found = {tuple(choose(texts, 3, "random", 0, f"group-{i}")) for i in range(200)}
    assert all(list(places) == sorted(set(places)) for places in found)
    # 8 choose 3 is 56.
    assert 40 < len(found) <= 56
    assert choose(texts, 3, "random", 0, "g") == choose(texts, 3, "random", 0, "g")


POINTS = st.lists(st.integers(0, 30), min_size=1, max_size=7)


@given(POINTS, st.integers(1, 7))
def test_the_greedy_choice_is_half_as_good_as_the_best_from_the_same_start(points, keep):
    """Gonzalez 1985: the smallest distance among the chosen is at least half of the best that is possible."""
    keep = min(keep, len(points))

    def distance(a, b):
        return abs(a - b)

    chosen = farthest(points, keep, distance)
    assert chosen[0] == 0
    assert len(set(chosen)) == keep
    if keep < 2:
        return

    def smallest(places):
        return min(distance(points[i], points[j]) for i, j in combinations(places, 2))

    best = max(smallest(places) for places in combinations(range(len(points)), keep))
    assert smallest(chosen) >= best / 2
