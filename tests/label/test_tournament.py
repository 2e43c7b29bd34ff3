"""Schedules: who meets whom, how often, and what it comes to."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.label.tournament import Champion, RoundRobin, Swiss, swiss_rounds


def play(game, wins):
    """All rounds; `wins(i, j)` is the share won by i. Returns the matches, round by round."""
    rounds = []
    while due := game.next_round():
        rounds.append(due)
        game.record({(i, j): wins(i, j) for i, j in due})
    return rounds


def transitive(i, j):
    return float(i > j)


@given(st.integers(1, 9))
def test_the_champion_is_the_best_after_n_minus_1_matches(n):
    game = Champion(n)
    rounds = play(game, transitive)
    assert [len(r) for r in rounds] == [1] * (n - 1)
    assert Champion.most_matches(n) == n - 1
    assert game.scores() == ([0.0] * (n - 1) + [1.0] if n > 1 else [None])


def test_a_tie_keeps_the_king():
    game = Champion(3)
    assert play(game, lambda i, j: 0.5) == [[(0, 1)], [(0, 2)]]
    assert game.scores() == [1.0, 0.0, 0.0]


def test_who_was_never_judged_has_no_score():
    game = Champion(3)
    play(game, lambda i, j: None if j == 1 else 0.0)
    assert game.scores() == [0.0, None, 1.0]
    game = Champion(2)
    play(game, lambda i, j: None)
    assert game.scores() == [None, None]


def test_all_against_all():
    game = RoundRobin(4)
    assert play(game, transitive) == [list(combinations(range(4), 2))]
    assert game.scores() == [0, 1 / 3, 2 / 3, 1]
    assert RoundRobin.most_matches(4) == 6


@pytest.mark.parametrize(
    ("n", "rounds", "matches"), [(2, 1, 1), (3, 2, 2), (4, 2, 4), (5, 3, 6), (8, 3, 12), (1, 0, 0)]
)
def test_swiss_counts(n, rounds, matches):
    played = play(Swiss(n), transitive)
    assert len(played) == rounds
    assert sum(map(len, played)) == matches == Swiss.most_matches(n)


@given(st.integers(2, 9), st.integers(1, 12), st.integers(0, 10_000))
def test_nobody_meets_twice_or_rests_twice_before_all_have(n, rounds, seed):
    game = Swiss(n, rounds)
    played = play(game, lambda i, j: [0.0, 0.5, 1.0, None][hash((i, j, seed)) % 4])
    pairs = [pair for r in played for pair in r]
    assert len(set(pairs)) == len(pairs)
    for r in played:
        names = [i for pair in r for i in pair]
        assert len(set(names)) == len(names) == n - n % 2
    assert len(played) <= swiss_rounds(n, rounds)


@given(st.integers(2, 9))
def test_the_best_of_a_swiss_tournament_wins_all_its_matches(n):
    game = Swiss(n)
    play(game, transitive)
    assert game.scores()[n - 1] == 1.0
    assert len(game.played(n - 1)) in (math.ceil(math.log2(n)), math.ceil(math.log2(n)) - 1)


def test_leaders_meet_leaders():
    game = Swiss(4)
    first, second = play(game, transitive)
    winners = {max(pair) for pair in first}
    assert tuple(sorted(winners)) in second
