"""Token-level DPO, on the two responses of known distributions."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from tests.objectives.fixtures import POLICY_ROWS, REF_ROWS, golden, metric, row_logps


def kl(reference, policy):
    return sum(p * math.log(p / q) for r, s in zip(reference, policy, strict=True) for p, q in zip(r, s, strict=True))


KLS = [kl(r, p) for r, p in zip(REF_ROWS, POLICY_ROWS, strict=True)]
ROWS = {"logps": [row_logps(POLICY_ROWS)], "ref_logps": [row_logps(REF_ROWS)], "lengths": [[2, 1]], "seq_kl": [KLS]}


def test_the_fixture():
    ratios = [p - r for p, r in zip(ROWS["logps"][0], ROWS["ref_logps"][0], strict=True)]
    assert ratios == pytest.approx([-0.1823215568, 0.1823215568], abs=1e-6)
    assert list(KLS) == pytest.approx([0.0832644454, 0.0923315154], abs=1e-6)


def test_both_versions():
    golden("dpo", [0.7884573604], {k: v for k, v in ROWS.items() if k != "seq_kl"}, beta=0.5)
    first = golden("tdpo", [0.7909327452], ROWS, beta=0.5, version=1)
    golden("tdpo", [0.7896944159], ROWS, beta=0.5)
    golden("tdpo", [0.7896944159], ROWS, beta=0.5, version=2, alpha=0.5)
    assert metric(first, "rewards/chosen") == pytest.approx([0.5 * (-0.1823215568 + 0.0832644454)], abs=1e-9)
    assert metric(first, "seq_kl/rejected") == pytest.approx([0.0923315154], abs=1e-9)


def test_the_second_version_does_not_move_the_chosen_response_by_its_kl():
    for version, alpha in ((1, 1.0), (2, 0.5)):
        found = evaluate("tdpo", beta=0.5, version=version, **ROWS)
        weight = 0.5 * (1 - math.exp(-found.losses.item()))
        assert found.grad_logps[0].tolist() == pytest.approx([-weight, weight], abs=1e-9)
        chosen = -weight if version == 1 else 0.0
        assert found.grads["seq_kl"][0].tolist() == pytest.approx([chosen, alpha * weight], abs=1e-9)


def test_settings_that_are_errors():
    for settings in ({"beta": 0.0}, {"version": 3}, {"version": 1, "alpha": 0.5}, {"alpha": -1.0}):
        with pytest.raises(PrefineError):
            evaluate("tdpo", **ROWS, **settings)
    with pytest.raises(PrefineError, match="seq_kl"):
        evaluate("tdpo", **{k: v for k, v in ROWS.items() if k != "seq_kl"})
