"""Binary classifier optimization, with its running threshold."""

import pytest
import torch

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from prefine.registry import objectives
from tests.objectives.fixtures import LABELED, PAIRS, golden, gradient, metric, softplus, tensors, total


def test_values_after_the_first_update():
    found = golden("bco", [0.6660252579, 0.7365500338, 0.6611752126, 0.7417748816], LABELED)
    assert metric(found, "bco/delta") == pytest.approx([-0.035] * 4)
    golden("bco", [0.6660252579, 0.7365500338, 0.6611752126, 0.7417748816], LABELED, delta="cumulative")
    total("bco", 0.7013813465, LABELED)
    golden("bco_pair", [1.3272004705, 1.4783249154])


def test_without_a_threshold():
    golden("bco_pair", [1.3275938398, 1.4785432147], delta="zero")
    gradient("bco", [[-0.0495000167], [-0.0529964052], [0.0475020813], [0.0514995502]], LABELED, delta="zero")
    gradient("bco_pair", [[-0.0495000167, 0.0475020813], [-0.0529964052, 0.0514995502]], delta="zero")
    same = {**LABELED, "ref_logps": LABELED["logps"]}
    golden("bco", [0.6931471806] * 4, same)
    golden("bco_pair", [1.3862943611] * 2, {**PAIRS, "ref_logps": PAIRS["logps"]})


def batch(u, labels):
    return {"logps": [[x] for x in u], "ref_logps": [[0.0]] * len(u), "labels": [[x] for x in labels]}


def test_the_running_mean_is_corrected_for_its_start_and_resumes():
    first = evaluate("bco", beta=1.0, **batch([2.0, 4.0], [1, 0]))
    assert metric(first, "bco/delta")[0] == pytest.approx(3.0)
    second = evaluate("bco", beta=1.0, state=first.state, **batch([1.0, 3.0, 8.0], [1, 1, 0]))
    good = (0.9 * 0.1 * 2.0 + 0.1 * 2.0) / (0.9 * 0.1 + 0.1)
    bad = (0.9 * 0.1 * 4.0 + 0.1 * 8.0) / (0.9 * 0.1 + 0.1)
    delta = (good + bad) / 2
    assert metric(second, "bco/delta")[0] == pytest.approx(delta)
    assert second.losses.tolist() == pytest.approx([softplus(delta - 1), softplus(delta - 3), softplus(8 - delta)])


def test_a_cumulative_mean_is_over_all_responses():
    first = evaluate("bco", beta=1.0, delta="cumulative", **batch([2.0, 4.0, 6.0], [1, 1, 0]))
    assert metric(first, "bco/delta")[0] == pytest.approx(4.0)
    second = evaluate("bco", beta=1.0, delta="cumulative", state=first.state, **batch([0.0], [0]))
    assert metric(second, "bco/delta")[0] == pytest.approx(3.0)
    # The classes are unbalanced, so the mean of the classes' means differs.
    assert metric(evaluate("bco", beta=1.0, **batch([2.0, 4.0, 6.0], [1, 1, 0])), "bco/delta")[0] == pytest.approx(4.5)


@pytest.mark.parametrize("delta", ["ema", "cumulative"])
def test_a_class_that_is_missing_keeps_its_mean(delta):
    only = evaluate("bco", beta=1.0, delta=delta, **batch([2.0, 4.0], [1, 1]))
    assert metric(only, "bco/delta")[0] == pytest.approx(3.0) and only.losses.isfinite().all()
    assert "rewards/rejected" not in only.metrics and "rewards/margins" not in only.metrics
    both = evaluate("bco", beta=1.0, delta=delta, state=only.state, **batch([9.0], [0]))
    assert metric(both, "bco/delta")[0] == pytest.approx((3.0 + 9.0) / 2 if delta == "ema" else 5.0)


def test_evaluation_and_precision_leave_the_state():
    first = evaluate("bco", **LABELED)
    again = evaluate("bco", state=first.state, training=False, **LABELED)
    assert torch.equal(again.state["running"], first.state["running"])
    assert evaluate("bco", **tensors(LABELED, torch.float32)).state["running"].dtype == torch.float64


def test_resuming_gives_the_same_numbers():
    objective = objectives.build({"name": "bco"})
    evaluate(objective, **LABELED)
    resumed = objectives.build({"name": "bco"})
    resumed.load_state_dict(objective.state_dict())
    a, b = evaluate(objective, **LABELED), evaluate(resumed, **LABELED)
    assert torch.equal(a.losses, b.losses) and torch.equal(a.state["running"], b.state["running"])


def test_settings_that_are_errors():
    for settings in (
        {"beta": 0.0},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"delta": "zero", "momentum": 0.5},
        {"delta": "mean"},
    ):
        with pytest.raises(PrefineError):
            evaluate("bco", **LABELED, **settings)
