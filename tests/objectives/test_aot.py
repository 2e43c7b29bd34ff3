"""Alignment via optimal transport, paired and unpaired."""

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import AT_REFERENCE, BY_TOKEN, PAIRS, golden, metric, sigmoid, softplus


def test_paired():
    found = golden("aot", [0.7082596763] * 2)
    assert metric(found, "aot/gap") == pytest.approx([-0.3, -0.3], abs=1e-6)
    golden("aot", [0.6931471806] * 2, AT_REFERENCE)


def test_unpaired():
    for name in ("aot_unpaired", "aot_pair"):
        found = golden(name, [0.7031971797, 0.7133471672])
        assert metric(found, "aot/gap") == pytest.approx([-0.2, -0.4], abs=1e-6)


def test_paired_with_a_reference_sorted_apart():
    # Margins of the policy 0.5 and -1, of the reference -0.7 and 0.8: the order changes.
    smoothed = 0.9 * softplus(0.03) + 0.1 * softplus(-0.03)
    golden("aot", [smoothed] * 2, label_smoothing=0.1)
    found = evaluate("aot", **PAIRS)
    weight = 0.1 * sigmoid(0.03)
    for row in found.grad_logps.tolist():
        assert row == pytest.approx([-weight, weight])


def test_one_pair_is_dpo():
    for i, expected in enumerate([0.6349461016, 0.7871917248]):
        one = {k: [v[i]] for k, v in PAIRS.items()}
        golden("aot", [expected], one)
        golden("aot_unpaired", [expected], one)


def test_discounted_tails_are_sorted_too():
    # Discounted, the policy has margins 1.25 and -2, the reference 0 and -0.35.
    golden("aot", [softplus(0.165), softplus(-0.125)], BY_TOKEN, ld_alpha=0.5)
    # With a whole reference, whose margins are -0.7 and 0.8, the gaps are -1.3 and 0.45.
    golden("aot", [softplus(0.13), softplus(-0.045)], BY_TOKEN, ld_alpha=0.5, ld_reference=False)


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"label_smoothing": 0.5}, {"wpo": "sampled"}, {"f_divergence": "js"}):
        with pytest.raises(PrefineError):
            evaluate("aot", **PAIRS, **settings)
