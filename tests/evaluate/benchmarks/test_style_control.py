import numpy as np
import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks import style_control as sc
from prefine.evaluate.benchmarks.arena_hard import Judgment, vote


def judgment(question: str, model: str, first: str, second: str, baseline: str = "base") -> Judgment:
    votes = [v for i, s in enumerate((first, second)) if (v := vote(s, i, "v0.1")) is not None]
    return Judgment(question, model, baseline, "j", "c", tuple(votes), 0)


# 4 votes for m on prompt 1 (3 won, 1 lost), 2 on prompt 2 (tied, won), 6 on prompt 3
HAND = [judgment("1", "m", "B>>A", "B>A"), judgment("2", "m", "A=B", "A>B"), judgment("3", "m", "A>>B", "A>>B")]
STYLES = {
    "base": {"1": (100.0, 1.0, 0.0, 3.0), "2": (50.0, 0.0, 2.0, 0.0), "3": (4.0, 3.0, 4.0, 2.0)},
    "m": {"1": (300.0, 3.0, 0.0, 0.0), "2": (50.0, 1.0, 0.0, 1.0), "3": (1.0, 2.0, 9.0, 0.0)},
}
WEIGHT = np.array([4, 2, 6])


def pool(n: int = 150, effect: float = 1.0):
    """Two models of equal strength; answers longer than the baseline's win more often, and model z is longer."""
    rng = np.random.default_rng(7)
    labels, styles, found = ["A>>B", "A>B", "A=B", "B>A", "B>>A"], {"base": {}, "y": {}, "z": {}}, []
    for q in map(str, range(n)):
        styles["base"][q] = (float(rng.integers(100, 600)), *map(float, rng.integers(0, 6, 3)))
        for m, more in (("y", 0), ("z", 250)):
            styles[m][q] = (float(rng.integers(100, 600) + more), *map(float, rng.integers(0, 6, 3)))
            gap = effect * (styles[m][q][0] - styles["base"][q][0]) / 200
            levels = [int(np.digitize(gap + rng.logistic(), [-1.5, -0.4, 0.4, 1.5])) for _ in range(2)]
            found.append(judgment(q, m, labels[levels[0]], labels[4 - levels[1]]))
    return sc.pool(found, styles)


def test_features_of_v01_by_hand():
    # (A - B) / (A + B + 1), A the baseline
    raw = np.array([[-200 / 401, -2 / 5, 0, 3 / 4], [0, -1 / 2, 2 / 3, -1 / 2], [3 / 6, 1 / 6, -5 / 14, 2 / 3]])
    # over single votes
    mean = WEIGHT @ raw / 12
    sd = np.sqrt(WEIGHT @ (raw - mean) ** 2 / 12)
    assert sc.features_v01(sc.pool(HAND, STYLES)) == pytest.approx((raw - mean) / sd)


def test_features_of_v20_by_hand():
    # length (m - b) / (m + b): 200/400, 0, -3/5. Densities x / (length + 1), then (m - b) / (m + b + 1)
    dm = np.array([[3 / 301, 0, 0], [1 / 51, 0, 1 / 51], [2 / 2, 9 / 2, 0]])
    db = np.array([[1 / 101, 0, 3 / 101], [0, 2 / 51, 0], [3 / 5, 4 / 5, 2 / 5]])
    raw = np.hstack([[[0.5], [0.0], [-0.6]], (dm - db) / (dm + db + 1)])
    mean = WEIGHT @ raw / 12
    sd = np.sqrt(WEIGHT @ (raw - mean) ** 2 / 11)
    assert sc.features_v20(sc.pool(HAND, STYLES)) == pytest.approx((raw - mean) / sd)


def test_a_feature_that_never_varies_says_nothing():
    same = {m: {q: (10.0, 1.0, 1.0, 1.0) for q in "123"} for m in ("base", "m")}
    assert (sc.features_v01(sc.pool(HAND, same)) == 0).all()
    assert (sc.features_v20(sc.pool(HAND, same)) == 0).all()


def test_v01_is_the_plain_regression_on_doubled_battles():
    """Written out battle by battle, as published: all battles twice, ties once won and once lost, L2 with C = 1."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    found = pool()
    features = sc.features_v01(found)
    x = np.zeros((len(found.pair), 3 + 4))
    x[:, 2] = np.log(10)
    x[np.arange(len(x)), found.model[found.pair]] = -np.log(10)
    x[:, 3:] = features[found.pair]
    y = np.concatenate([found.outcome < 1, found.outcome < 0.5]).astype(int)
    beta = linear_model.LogisticRegression(fit_intercept=False).fit(np.concatenate([x, x]), y).coef_[0]
    controlled = sc.control_v01(found, rounds=0)
    expected = 100 / (1 + 10 ** (beta[2] - beta[:2]))
    assert [s[0] for s in controlled.scores.values()] == pytest.approx(expected, abs=0.01)
    assert list(controlled.coefficients.values()) == pytest.approx(beta[3:], abs=1e-3)
    assert controlled.scores["y"][1:] == (None, None)


@pytest.mark.parametrize("control", [sc.control_v01, sc.control_v20])
def test_control_takes_away_what_length_gives(control):
    pytest.importorskip("sklearn")
    found = pool()
    raw = {m: 100 * found.outcome[found.model[found.pair] == i].mean() for i, m in enumerate(found.models)}
    assert raw["z"] - raw["y"] > 12
    controlled = control(found, rounds=8)
    y, z = controlled.scores["y"], controlled.scores["z"]
    assert abs(z[0] - y[0]) < (raw["z"] - raw["y"]) / 2
    for middle, low, high in (y, z):
        assert low < middle < high
    assert abs(controlled.coefficients["length"]) > 5 * abs(controlled.coefficients["bold"])


def test_v20_is_the_published_search_stopped_after_50_steps():
    """L-BFGS of rate .1 over the exploded battles, from .5: written out battle by battle in float32, as published."""
    import torch

    found = pool(60)
    x = torch.zeros((len(found.pair), 3 + 4))
    x[torch.arange(len(x)), torch.from_numpy(found.model[found.pair])] = 1
    x[:, 2] = -1
    x[:, 3:] = torch.from_numpy(sc.features_v20(found)[found.pair]).float()
    outcome = torch.from_numpy(found.outcome).float()
    beta = torch.full((7,), 0.5, requires_grad=True)
    search = torch.optim.LBFGS([beta], lr=0.1, max_iter=50, tolerance_grad=1e-9, tolerance_change=1e-9)

    def closure():
        search.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ beta, outcome, reduction="sum")
        loss.backward()
        return loss

    search.step(closure)
    weights = np.exp(beta.detach().numpy()[:3])
    expected = 100 * weights[:2] / (weights[:2] + weights[2])
    assert [s[0] for s in sc.control_v20(found, rounds=0).scores.values()] == pytest.approx(expected, abs=0.01)


def test_a_pool_has_one_baseline_and_all_styles():
    with pytest.raises(PrefineError, match="one baseline, not 2"):
        sc.pool([*HAND, judgment("1", "m", "A=B", "A=B", baseline="other")], STYLES)
    with pytest.raises(PrefineError, match="no answer of 'm' to prompt 4"):
        sc.pool([*HAND, judgment("4", "m", "A=B", "A=B")], STYLES)
