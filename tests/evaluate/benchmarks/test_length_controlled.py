import csv

import numpy as np
import pytest

pytest.importorskip("sklearn")

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks import alpaca_eval, frozen, reading
from prefine.evaluate.benchmarks import length_controlled as lc
from prefine.evaluate.benchmarks.l1_logistic import fit_many
from tests.conftest import shared


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.fixture
def made():
    """Frozen data of 60 instructions, and a model's rows drawn from known coefficients."""
    rng = np.random.default_rng(4)
    difficulty = rng.normal(0, 1, 60)
    gamed = np.column_stack([np.tanh(rng.normal(0, 1, 120)), np.tile(difficulty, 2), np.zeros(120)])
    known = frozen.Frozen(difficulty, gamed, sigmoid(gamed @ [-1.0, 0.5, 0.0]), "base")
    len_1, len_2 = rng.integers(100, 900, 60).tolist(), rng.integers(100, 1500, 60).tolist()
    delta = np.array(len_1) - np.array(len_2)
    z = -1.0 * np.tanh(delta / delta.std(ddof=1)) + 0.8 * difficulty - 0.6
    preference = (1 + sigmoid(z + rng.normal(0, 0.5, 60))).tolist()
    return known, lc.design(preference, len_1, len_2, range(60), known)


def test_the_length_feature_by_hand():
    # differences 0, 3, -3: sd with n - 1 is 3, and they are not centered
    assert lc.length_feature(np.array([0.0, 3.0, -3.0])) == pytest.approx(np.tanh([0, 1, -1]))
    # 1, 3: sd sqrt(2)
    assert lc.length_feature(np.array([1.0, 3.0])) == pytest.approx(np.tanh([1 / 2**0.5, 3 / 2**0.5]))
    assert lc.length_feature(np.array([0.0, 0.0])).tolist() == [0, 0]


def test_rows_of_a_design(made):
    known, rows = made
    x, p, w = rows.rows()
    assert x.shape == (180, 3) and (x[:120, 2] == 0).all() and (x[120:, 2] == 1).all()
    assert set(w[:120]) == {0.1} and set(w[120:]) == {1.0}
    assert ((p >= 0) & (p <= 1)).all()
    assert x[120:, 1] == pytest.approx(known.difficulty)


def test_a_failed_verdict_counts_in_the_spread_and_the_mean_but_not_in_the_fit(made):
    known, _ = made
    rows = lc.design([None, 1.2, 1.9], [10, 20, 30], [40, 20, 0], [5, 6, 7], known)
    x, p, _ = rows.rows()
    assert len(p) == 122 and p[120:] == pytest.approx([0.2, 0.9])
    assert x[120:, 0] == pytest.approx(np.tanh(np.array([0, 30]) / 30))
    fitted = lc.fit(rows, 1.0)
    z = fitted.difficulty * known.difficulty[5:8] + fitted.bias
    assert fitted.win_rate == pytest.approx(100 * sigmoid(z).mean())


def test_the_fit_minimizes_its_objective(made):
    optimize = pytest.importorskip("scipy.optimize")
    _, rows = made
    x, p, w = rows.rows()
    c = 0.5

    def objective(beta):
        z = x @ beta
        return c * (w * (np.logaddexp(0, z) - p * z)).sum() + np.abs(beta).sum()

    best = optimize.minimize(objective, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    fitted = lc.fit(rows, c)
    assert [fitted.length, fitted.difficulty, fitted.bias] == pytest.approx(best.x, abs=5e-3)
    exact = fit_many(x.T[:, None], p[None], w[None], c, np.zeros(3))[0]
    assert exact == pytest.approx(best.x, abs=1e-5)
    # and the L1 penalty is felt: without it the coefficients are larger
    assert np.abs(best.x).sum() < np.abs(fit_many(x.T[:, None], p[None], w[None], 1e4, np.zeros(3))).sum() - 0.05


def test_a_strong_penalty_gives_exact_zeros_in_both_solvers(made):
    _, rows = made
    x, p, w = rows.rows()
    assert fit_many(x.T[:, None], p[None], w[None], 1e-4, np.ones(3)).tolist() == [[0.0, 0.0, 0.0]]
    fitted = lc.fit(rows, 1e-4)
    assert (fitted.length, fitted.difficulty, fitted.bias, fitted.win_rate) == (0, 0, 0, 50)


def test_many_fits_at_once_are_those_one_by_one(made):
    _, rows = made
    x, p, w = rows.rows()
    weights = np.random.default_rng(0).integers(0, 3, (4, len(p))) * w
    many = fit_many(np.repeat(x.T[:, None], 4, axis=1), np.tile(p, (4, 1)), weights, 3.0, np.zeros(3))
    single = [fit_many(x.T[:, None], p[None], weights[i : i + 1], 3.0, np.full(3, 5.0))[0] for i in range(4)]
    assert many == pytest.approx(np.array(single), abs=1e-7)


def test_folds_are_those_of_scikit_learn(monkeypatch):
    selection = pytest.importorskip("sklearn.model_selection")
    n = 23
    used = []
    monkeypatch.setattr(lc, "CS", np.array([1.0]))
    monkeypatch.setattr(lc, "_coefficients", lambda x, p, w, c: (used.append(set(x[:, 0].astype(int))), np.zeros(3))[1])
    x = np.column_stack([np.arange(n), np.zeros(n), np.zeros(n)])
    lc.choose_c(x, np.full(n, 0.5), np.ones(n))
    split = selection.GroupKFold(5).split(x, groups=np.arange(n))
    assert used == [set(train.tolist()) for train, _ in split]


def test_cross_validation_is_that_of_scikit_learn(made):
    """The same folds, scores and choice as LogisticRegressionCV with every preference twice, as a win and as a loss."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    _, rows = made
    x, p, w = rows.rows()
    target, weight = np.concatenate([p, 1 - p]), np.concatenate([w, w])
    table = {tuple(r): (t, v) for r, t, v in zip(np.round(x, 12), p, w, strict=True)}

    def log_likelihood(estimator, held, y, sample_weight=None):
        t, v = np.array([table[tuple(r)] for r in np.round(held, 12)]).T
        q = estimator.predict_proba(held)[:, 1]
        return np.mean(v * (t * np.log(q) + (1 - t) * np.log(1 - q)))

    found = linear_model.LogisticRegressionCV(
        Cs=10, l1_ratios=(1.0,), solver="liblinear", fit_intercept=False, random_state=123, scoring=log_likelihood,
        use_legacy_attributes=False,
        cv=list(selection.GroupKFold(5).split(np.concatenate([x, x]), groups=np.tile(np.arange(len(p)), 2))),
    ).fit(np.concatenate([x, x]), np.repeat([1, 0], len(p)), sample_weight=target * weight)  # fmt: skip
    assert lc.choose_c(x, p, w) == pytest.approx(float(found.C_))
    assert lc.fit(rows).c == pytest.approx(float(found.C_))


def test_too_few_rows_for_cross_validation_and_none_at_all(made):
    known, _ = made
    few = lc.design([1.5, 1.2], [1, 2], [3, 5], [0, 1], known, regularize=False)
    with pytest.raises(PrefineError, match="pin it with --C"):
        lc.fit(few)
    assert lc.fit(few, 1.0).c == 1.0
    with pytest.raises(PrefineError, match="no verdict"):
        lc.fit(lc.design([None], [1], [3], [0], known), 1.0)
    with pytest.raises(PrefineError, match="instruction number 60: difficulty is known for 0 to 59"):
        lc.design([1.0], [1], [3], [60], known)


def test_length_is_what_is_controlled(made):
    known, _ = made
    rng = np.random.default_rng(1)
    longer = rng.integers(200, 900, 60)
    # a model that wins by length alone: half of the verdicts without it
    preference = 1 + sigmoid(3 * np.tanh(longer / longer.std(ddof=1)))
    rows = lc.design(preference.tolist(), [0] * 60, longer.tolist(), range(60), known, regularize=False)
    raw = 100 * (preference - 1).mean()
    assert raw > 85 and lc.fit(rows, 100.0).win_rate < 60


def test_the_interval_holds_the_noise_of_the_coefficients(made):
    _, rows = made
    fitted = lc.fit(rows, 2.0)
    low, high = lc.interval(rows, fitted, resamples=200)
    assert low < fitted.win_rate < high
    assert fitted.standard_error is not None and high - low > 2 * fitted.standard_error
    assert lc.interval(rows, fitted, resamples=200) == (low, high)
    assert lc.interval(rows, fitted, resamples=200, seed=1) != (low, high)


def test_a_resample_is_refitted_as_a_whole(made):
    """One resample by hand: drawn rows, their own spread, the gamed rows as they were."""
    known, rows = made
    drawn = np.random.default_rng(3).integers(0, 60, (1, 60))
    fitted = lc.fit(rows, 2.0)
    again = lc.Design(
        rows.gamed, rows.gamed_preference, *(a[drawn[0]] for a in (rows.delta, rows.difficulty, rows.preference))
    )
    x, p, w = again.rows()
    beta = fit_many(x.T[:, None], p[None], w[None], 2.0, np.zeros(3))[0]
    expected = 100 * sigmoid(beta[1] * known.difficulty[drawn[0]] + beta[2]).mean()
    assert lc._refit(rows, fitted, drawn)[0] == pytest.approx(expected, abs=1e-5)


def test_head_to_head_by_hand():
    known = frozen.Frozen(np.array([0.0, 2.0]), np.empty((0, 3)), np.empty(0), "base")
    a, b = (lc.LengthControlled(9.0, d, c, 1.0, 0.0, None) for d, c in ((1.0, 0.5), (0.5, 0.25)))
    # sigmoid(.25) and sigmoid(.25 + .5 * 2)
    assert lc.head_to_head(a, b, known) == pytest.approx(50 * (sigmoid(0.25) + sigmoid(1.25)))
    assert lc.head_to_head(a, b, known) + lc.head_to_head(b, a, known) == pytest.approx(100)
    assert lc.head_to_head(a, lc.baseline_itself(), known) == pytest.approx(50 * (sigmoid(0.5) + sigmoid(2.5)))
    assert lc.baseline_itself().win_rate == 50


@pytest.mark.parametrize(
    ("win_rate", "controlled", "warned"),
    [
        # 60: below min(45, 50) or above max(70, 70)
        (60, 44.9, True), (60, 45.1, False), (60, 69.9, False), (60, 70.1, True),
        # 20: below min(15, 10) or above max(40, 30)
        (20, 9.9, True), (20, 10.1, False), (20, 39.9, False), (20, 40.1, True),
    ],
)  # fmt: skip
def test_the_warning_rule(win_rate, controlled, warned):
    assert lc.extreme(win_rate, controlled) is warned


def published(folder):
    with (folder / "published.csv").open() as lines:
        return list(csv.DictReader(lines))


def real(folder, model):
    (judged,) = alpaca_eval.read(reading.read_file(folder / f"{model}.jsonl.gz"))
    known, a = frozen.load(folder), judged.annotations
    columns = [[x.preference for x in a], [x.len_1 for x in a], [x.len_2 for x in a], [x.index for x in a]]
    return judged, lc.design(*columns, known)


@pytest.mark.parametrize("number", [0, 1])
def test_the_published_leaderboard_with_c_pinned(number):
    folder = shared("data/alpaca_eval")
    row = published(folder)[number]
    _, rows = real(folder, row["model"])
    fitted = lc.fit(rows, float(row["C"]))
    assert fitted.win_rate == pytest.approx(float(row["lc_at_C"]), abs=1e-6)
    found = lc.fit(rows, 166.81005372000558 if row["model"] == "gemma-2b-it" else 21.54434690031882)
    assert found.win_rate == pytest.approx(float(row["length_controlled_winrate"]), abs=1e-3)
    weights = [float(row[k]) for k in ("w_len", "w_difficulty", "w_bias")]
    assert [found.length, found.difficulty, found.bias] == pytest.approx(weights, abs=1e-3)


@pytest.mark.parametrize("number", [0, 1])
def test_the_published_leaderboard_with_c_by_cross_validation(number):
    folder = shared("data/alpaca_eval")
    row = published(folder)[number]
    _, rows = real(folder, row["model"])
    assert lc.fit(rows).win_rate == pytest.approx(float(row["length_controlled_winrate"]), abs=0.2)


@pytest.mark.parametrize("number", [0, 1])
def test_the_published_win_rates_and_log_probs(number):
    folder = shared("data/alpaca_eval")
    row = published(folder)[number]
    judged, _ = real(folder, row["model"])
    found = alpaca_eval.win_rates([a.preference for a in judged.annotations if a.preference is not None])
    for key in ("win_rate", "standard_error", "discrete_win_rate"):
        assert found[key] == pytest.approx(float(row[key]), abs=1e-6)
    for key in ("n_wins", "n_wins_base", "n_draws"):
        assert found[key] == int(row[key])
    assert len(judged.differences) >= 800 and max(judged.differences) < 1e-5
