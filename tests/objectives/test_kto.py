"""Kahneman-Tversky optimization, on labeled responses and on pairs."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import LABELED, MISMATCHED, PAIRS, golden, gradient, metric, sigmoid, total

ALL = {**LABELED, **MISMATCHED}


def test_values_and_gradient():
    found = golden("kto", [0.5, 0.5349429452, 0.4700359482, 0.5099986669], ALL)
    assert metric(found, "kl/z0") == pytest.approx([0.2] * 4)
    total("kto", 0.5037443901, ALL)
    gradient("kto", [[-0.025], [-0.0248778991], [0.0249102156], [0.0249900027]], ALL)


def test_without_a_reference_point_and_with_weights():
    settings = {"z0": "zero", "desirable_weight": 1.33}
    golden("kto", [0.6583502217, 0.7048521888, 0.4750208125, 0.5149955016], LABELED, **settings)
    total("kto", 0.5883046812, LABELED, **settings)
    golden(
        "kto",
        [0.4950001667, 0.5299640518, 0.5 * 0.4750208125, 0.5 * 0.5149955016],
        LABELED,
        z0="zero",
        undesirable_weight=0.5,
    )


def test_at_the_reference():
    same = {**LABELED, "ref_logps": LABELED["logps"], "kl_logps": [-1.0] * 4, "kl_ref_logps": [-1.0] * 4}
    golden("kto", [0.5] * 4, same)


def test_a_negative_mean_counts_as_zero():
    low = {**LABELED, "kl_logps": [-5.0] * 4, "kl_ref_logps": [-3.0] * 4}
    golden("kto", [0.4950001667, 0.5299640518, 0.4750208125, 0.5149955016], low)


def test_metrics_are_means_of_the_classes():
    found = evaluate("kto", **ALL)
    assert metric(found, "rewards/chosen") == pytest.approx([-0.05] * 4)
    assert metric(found, "rewards/rejected") == pytest.approx([-0.02] * 4)
    assert metric(found, "rewards/margins") == pytest.approx([-0.03] * 4)
    assert metric(found, "logps/chosen") == pytest.approx([-3.5] * 4)
    assert metric(found, "rewards/signs_right") == [1, 0, 1, 0]


def test_pairs():
    found = golden("kto_pair", [(0.4950001667 + 0.4750208125) / 2, (0.5299640518 + 0.5149955016) / 2])
    assert found.weights.tolist() == [1, 1]
    # The mean of the other half: chosen -0.5 and rejected -0.2 are cut at zero, so raise both by 1.
    raised = {**PAIRS, "logps": [[x + 1 for x in row] for row in PAIRS["logps"]]}
    expected = []
    for w, r in ((1.2, 0.0), (-0.2, 1.6)):
        expected.append(((1 - sigmoid(0.1 * (w - 0.8))) + (1 - sigmoid(0.1 * (0.5 - r)))) / 2)
    golden("kto_pair", expected, raised)


def test_pairs_as_two_labeled_responses():
    two = {**PAIRS, "kl_logps": [-2.7, -3.1], "kl_ref_logps": [-3.0, -3.0]}
    losses = [(1 - sigmoid(0.1 * (w - 0.1)) + 1 - sigmoid(0.1 * (0.1 - r))) / 2 for w, r in ((0.2, -1.0), (-1.2, 0.6))]
    found = golden("kto", losses, two)
    assert found.weights.tolist() == [2, 2]
    labeled = evaluate("kto", labels=[[1, 0], [1, 0]], **two)
    assert labeled.losses.tolist() == found.losses.tolist()
    turned = evaluate("kto", labels=[[0, 1], [0, 1]], **two)
    assert turned.losses.tolist() != found.losses.tolist()


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"desirable_weight": -1.0}, {"undesirable_weight": -1.0}, {"z0": "mean"}):
        with pytest.raises(PrefineError):
            evaluate("kto", **ALL, **settings)
    with pytest.raises(PrefineError, match="kl_"):
        evaluate("kto", **LABELED)
    with pytest.raises(PrefineError, match="labels"):
        evaluate("kto", **{k: v for k, v in ALL.items() if k != "labels"})
