"""Distance from what was asked for, and the rank correlation of asking and getting."""

import pytest

from prefine.conditions import asked
from prefine.errors import PrefineError
from prefine.evaluate.prompts import asked_ids
from prefine.evaluate.statistics import spearman
from prefine.registry import metrics
from prefine.schema import group_id, make_group

SOURCE = """
def letters(prompt, response, task_meta):
    assert prompt == "why?", prompt
    assert task_meta == {"k": "v"}, task_meta
    return len(response) if response else None
"""


@pytest.fixture
def group(tmp_path, monkeypatch):
    (tmp_path / "judge_of_mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return make_group([{"role": "user", "content": "why?"}], task_meta={"k": "v"})


def build(rating: str = "judge.length", **settings):
    block = {"name": "controllability", "rating": rating, "function": "judge_of_mine:letters", **settings}
    return metrics.build(block)


def test_the_distance_from_the_target_of_the_prompt(group):
    metric = build()
    assert metric.name == "controllability_length" and not metric.higher_is_better
    asks = asked(group, {"length": 4.0, "other": 1.0})
    assert [metric.score(asks, text) for text in ("abcd", "ab", "abcdefg", "")] == [0.0, 2.0, 3.0, None]


def test_a_target_of_its_own_or_the_goal(group):
    assert build(target=3.0, as_name="mine").score(group, "abcde") == 2.0
    assert build("goal").score(asked(group, goal=2.5), "abc") == 0.5


def test_a_prompt_that_does_not_ask_is_an_error(group):
    with pytest.raises(PrefineError, match=r"set evaluate\.data\.condition"):
        build().score(group, "x")
    with pytest.raises(PrefineError, match="does not ask for a rating 'lenght'; did you mean 'length'"):
        build("lenght").score(asked(group, {"length": 4.0}), "x")
    with pytest.raises(PrefineError, match="must be module:function"):
        metrics.check({"name": "controllability", "rating": "a", "function": "f"})


def test_answers_to_other_conditions_are_other_answers(group):
    one, two = asked(group, {"length": 1.0}), asked(group, {"length": 2.0})
    assert one.id == two.id == group.id
    assert len({*asked_ids([group, one, two])}) == 3
    assert asked_ids([group]) == [group_id(group.messages)] == [group.id]


def test_spearman_by_hand():
    assert spearman([1.0, 2.0, 3.0], [0.1, 0.5, 9.0]) == pytest.approx(1.0)
    assert spearman([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1.0)
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15).
    assert spearman([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]) == pytest.approx(0.6)
    # Ranks 1.5 1.5 3.5 3.5 and 1 2 3 4: 4 / sqrt(4 * 5).
    assert spearman([1.0, 1.0, 5.0, 5.0], [1.0, 2.0, 3.0, 4.0]) == pytest.approx(4 / 20**0.5)
    assert spearman([1.0, 9.0, 2.0], [1.0, None, 2.0]) == pytest.approx(1.0)


def test_spearman_of_nothing_that_varies_is_none():
    assert spearman([1.0, 1.0], [1.0, 2.0]) is None
    assert spearman([1.0, 2.0], [3.0, 3.0]) is None
    assert spearman([1.0, 2.0], [3.0, None]) is None
    assert spearman([], []) is None


def test_spearman_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 12).astype(float), rng.integers(0, 5, 12).astype(float)
        assert spearman(list(a), list(b)) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
