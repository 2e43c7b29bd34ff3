import numpy as np
import pytest

from prefine.evaluate.benchmarks.arena_hard import Judgment, vote
from prefine.evaluate.benchmarks.bradley_terry import (
    battles,
    bootstrap_ratings,
    interval,
    ratings,
    score_of,
    scores_v01,
    scores_v20,
)


def judgment(question: str, model: str, first: str | None, second: str | None) -> Judgment:
    votes = [v for i, s in enumerate((first, second)) if (v := vote(s, i, "v0.1")) is not None]
    return Judgment(question, model, "base", "j", "c", tuple(votes), 2 - len(votes))


HAND = [
    # votes for m: 3 won + 1 won, 1 tied + 3 lost: 4.5 of 8
    judgment("1", "m", "B>>A", "A>B"),
    judgment("2", "m", "A=B", "B>>A"),
    # for n: 1 lost, and a game without verdict
    judgment("1", "n", "A>B", None),
]


def many(n: int = 80) -> list[Judgment]:
    rng = np.random.default_rng(5)
    labels = ["A>>B", "A>B", "A=B", "B>A", "B>>A"]
    return [judgment(str(q), m, *rng.choice(labels, 2)) for q in range(n) for m in ("x", "y", "z")]


def test_battles_repeat_strong_votes():
    found = battles(HAND)
    assert found.models == ["m", "n"]
    assert sorted(found.outcome[found.model == 0].tolist()) == [0, 0, 0, 0.5, 1, 1, 1, 1]
    assert found.outcome[found.model == 1].tolist() == [0]


def test_scores_by_hand():
    for scores in (scores_v01(battles(HAND)), scores_v20(battles(HAND))):
        assert scores["m"].mean == pytest.approx(56.25)
        assert scores["n"].mean == 0
    assert scores_v01(battles(HAND))["m"].score == pytest.approx(56.25)


def test_a_rating_has_odds_of_ten_for_400_points():
    assert ratings(np.array([10 / 11, 0.5, 1 / 11])) == pytest.approx([1400, 1000, 600])
    assert score_of(1400.0) == pytest.approx(1000 / 11) and score_of(1000.0) == 50
    assert score_of(ratings(np.array([0.3]))) == pytest.approx([30])


def test_the_closed_form_is_the_logistic_regression_on_doubled_battles():
    linear_model = pytest.importorskip("sklearn.linear_model")
    found = battles(many())
    n, k = len(found.model), 3
    x = np.zeros((n, k + 1))
    x[:, k] = np.log(10)
    x[np.arange(n), found.model] = -np.log(10)
    # a battle twice; a tie is one win and one loss of the baseline (A)
    y = np.concatenate([found.outcome < 1, found.outcome < 0.5]).astype(int)
    fit = linear_model.LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=1000)
    coefficients = fit.fit(np.concatenate([x, x]), y).coef_[0]
    elo = 400 * coefficients + 1000
    elo += 1000 - elo[k]
    assert ratings(np.array([found.outcome[found.model == i].mean() for i in range(k)])) == pytest.approx(
        elo[:k], abs=0.01
    )
    expected = 100 / (1 + 10 ** ((1000 - elo[:k]) / 400))
    assert [s.score for s in scores_v01(found).values()] == pytest.approx(expected, abs=0.005)


def test_the_interval_is_that_of_percentiles_of_the_ratings():
    rounds = np.array([[900.0, 1000.0], [1000.0, 1000.0], [1100.0, 1000.0]])
    low, high = interval(rounds)
    # between 900 and 1000 at .05: 905
    assert low[0] == pytest.approx(100 / (1 + 10 ** (95 / 400))) and high[0] == pytest.approx(100 - low[0])
    assert (low[1], high[1]) == (50, 50), "the anchor is in every round"


def test_bootstrap_of_all_battles():
    found = battles(many())
    drawn = bootstrap_ratings(found, rounds=500, seed=1)
    assert drawn.shape == (500, 3)
    share = score_of(drawn) / 100
    for i in range(3):
        own = found.outcome[found.model == i]
        assert share[:, i].mean() == pytest.approx(own.mean(), abs=0.01)
        assert share[:, i].std() == pytest.approx(own.std() / len(own) ** 0.5, rel=0.15)
    assert (bootstrap_ratings(found, rounds=500, seed=1) == drawn).all()


def test_a_model_that_lost_everything_has_a_score_and_an_interval():
    found = battles([judgment(str(i), "m", "A>B", "B>A") for i in range(3)])
    s = scores_v01(found, rounds=50)["m"]
    assert s.score == 0 and s.low == pytest.approx(0, abs=1e-5) and s.high == pytest.approx(0, abs=1e-5)


def test_v20_is_the_mean_of_the_bootstrap_and_its_5_and_95_percent():
    found = battles(many())
    scores = scores_v20(found, seed=3)
    for i, (model, s) in enumerate(scores.items()):
        own = found.outcome[found.model == i]
        error = 100 * own.std() / len(own) ** 0.5
        assert s.score != s.mean and s.score == pytest.approx(s.mean, abs=0.5 * error)
        wide = scores_v20(found, rounds=4000)[model]
        assert wide.low is not None and wide.high is not None
        assert wide.high - wide.low == pytest.approx(2 * 1.645 * error, rel=0.1)
    assert scores_v20(found, rounds=0)["x"].score == pytest.approx(scores["x"].mean)


def test_without_rounds_there_is_no_interval():
    assert scores_v01(battles(HAND), rounds=0)["m"].low is None
    assert scores_v20(battles(HAND), rounds=0)["m"].high is None
