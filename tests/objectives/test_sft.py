"""Supervised fine-tuning: three reductions, label smoothing, z-loss, the prompt."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from prefine.registry import objectives
from tests.objectives.fixtures import golden, gradient, metric, total

TEXTS = {"logps": [[-3.0], [-4.0]], "lengths": [[3], [2]]}


def test_reductions():
    total("sft", 1.4, TEXTS)
    total("sft", 1.5, TEXTS, reduction="seq_mean")
    total("sft", 3.5, TEXTS, reduction="seq_sum")
    golden("sft", [1.0, 2.0], TEXTS, reduction="seq_mean")
    golden("sft", [3.0, 4.0], TEXTS, reduction="seq_sum")
    golden("sft", [3 / 2.5, 4 / 2.5], TEXTS)
    gradient("sft", [[-0.4], [-0.4]], TEXTS)
    gradient("sft", [[-1 / 3], [-0.5]], TEXTS, reduction="seq_mean")


def test_metrics():
    found = evaluate("sft", **TEXTS)
    assert metric(found, "nll") == [1, 2] and metric(found, "nll/sum") == [3, 4]
    assert metric(found, "lengths/chosen") == [3, 2]
    objective = objectives.build({"name": "sft"})
    assert objective.summary({"nll/sum": 3.5, "lengths/chosen": 2.5}) == {"perplexity": math.exp(1.4)}


def test_label_smoothing_and_z_loss():
    given = {**TEXTS, "smooth_logps": [[-9.0], [-10.0]], "z_squares": [[2.0], [6.0]]}
    golden("sft", [0.9 * 3 + 0.1 * 9, 0.9 * 4 + 0.1 * 10], given, label_smoothing=0.1, reduction="seq_sum")
    golden("sft", [(3 + 0.01 * 2) / 3, (4 + 0.01 * 6) / 2], given, z_loss=0.01, reduction="seq_mean")
    total("sft", (0.9 * 7 + 0.1 * 19 + 0.01 * 8) / 5, given, label_smoothing=0.1, z_loss=0.01)
    found = evaluate("sft", label_smoothing=0.1, z_loss=0.01, reduction="seq_sum", **given)
    assert found.grads["smooth_logps"].flatten().tolist() == pytest.approx([-0.1] * 2)
    assert found.grads["z_squares"].flatten().tolist() == pytest.approx([0.01] * 2)
    assert metric(found, "loss/z") == pytest.approx([0.02 / 3, 0.06 / 2])


def test_the_prompt_can_be_trained_too():
    given = {**TEXTS, "prompt_logps": [-5.0, -1.0], "prompt_lengths": [4, 1]}
    total("sft", 13 / 10, given, train_on_prompt=True)
    golden("sft", [8 / 7, 5 / 3], given, train_on_prompt=True, reduction="seq_mean")
    golden("sft", [8.0, 5.0], given, train_on_prompt=True, reduction="seq_sum")


def test_settings_that_are_errors():
    for settings in (
        {"label_smoothing": 1.0},
        {"z_loss": -1.0},
        {"train_on_prompt": True, "label_smoothing": 0.1},
        {"train_on_prompt": True, "z_loss": 0.1},
        {"reduction": "mean"},
    ):
        with pytest.raises(PrefineError):
            evaluate("sft", **TEXTS, **settings)
    for settings, missing in (
        ({"label_smoothing": 0.1}, "smooth_logps"),
        ({"z_loss": 0.1}, "z_squares"),
        ({"train_on_prompt": True}, "prompt_l"),
    ):
        with pytest.raises(PrefineError, match=missing):
            evaluate("sft", **TEXTS, **settings)
