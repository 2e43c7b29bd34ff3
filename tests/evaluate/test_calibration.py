import numpy as np
import pytest

from prefine.evaluate.calibration import calibration


def test_bins_and_error_by_hand():
    # sigmoid(ln 3) = .75 and sigmoid(ln 9) = .9; beta 2 doubles the gaps
    third, ninth = np.log(3) / 2, np.log(9) / 2
    found = calibration(["a", "b", "c", "d"], [third, third, -third, ninth], beta=2.0)
    low, high = found["bins"]
    assert (low["from"], low["to"], low["pairs"]) == (0.7, 0.8, 3) and high["pairs"] == 1
    assert low["confidence"] == pytest.approx(0.75) and low["right"] == pytest.approx(2 / 3)
    assert high["confidence"] == pytest.approx(0.9) and high["right"] == 1
    # (3 * |2/3 - .75| + |1 - .9|) / 4
    assert found["ece"]["value"] == pytest.approx((0.25 + 0.1) / 4) and found["ece"]["n"] == 4
    assert found["pairs"] == 4 and found["beta"] == 2


def test_ties_are_half_right_and_certainty_falls_into_the_last_bin():
    found = calibration(["a", "b"], [0.0, 1e4], beta=1.0)
    first, last = found["bins"]
    assert (first["from"], first["confidence"], first["right"]) == (0.5, 0.5, 0.5)
    assert (last["to"], last["confidence"], last["right"]) == (1.0, 1.0, 1.0)
    assert found["ece"]["value"] == 0


def test_pairs_of_one_prompt_stay_together():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], 40)
    alone = calibration([str(i) for i in range(400)], np.repeat(signs, 10).tolist(), beta=1.0)["ece"]
    together = calibration([str(i // 10) for i in range(400)], np.repeat(signs, 10).tolist(), beta=1.0)["ece"]
    assert together["n"] == 40 and together["value"] == pytest.approx(alone["value"])
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])


def test_a_calibrated_model_has_a_small_error():
    rng = np.random.default_rng(1)
    margin = rng.normal(0, 2, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-np.abs(margin)))
    found = calibration(
        [str(i) for i in range(20_000)], np.where(right, 1, -1) * np.abs(margin), beta=1.0, resamples=50
    )
    assert found["ece"]["value"] < 0.02
    overconfident = calibration(["a"] * 20_000, (np.where(right, 1, -1) * np.abs(margin)).tolist(), beta=4.0)
    assert overconfident["ece"]["value"] > 0.1 and overconfident["ece"]["low"] is None
