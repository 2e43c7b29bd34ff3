"""DPO and its named settings: conservative, with a margin, with an NLL, by length, weighted, with other divergences."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.objectives import evaluate
from prefine.registry import objectives
from tests.objectives.fixtures import (
    AT_REFERENCE,
    BY_TOKEN,
    LENGTHS,
    LOGPS,
    PAIRS,
    POLICY_ROWS,
    REF,
    TOKENS,
    golden,
    gradient,
    metric,
    row_logps,
    softplus,
    total,
)

DPO = [0.6349461016, 0.7871917248]


def test_dpo():
    golden("dpo", DPO)
    golden("dpo", DPO, beta=0.1)
    golden("dpo", [0.4374879505, 1.2411538747], beta=0.5)
    golden("dpo", [0.6931471806] * 2, AT_REFERENCE)
    gradient("dpo", [[-0.0470035948, 0.0470035948], [-0.0544878892, 0.0544878892]])


def test_metrics_of_pairs():
    found = evaluate("dpo", **PAIRS)
    assert metric(found, "rewards/chosen") == pytest.approx([0.02, -0.12])
    assert metric(found, "rewards/rejected") == pytest.approx([-0.1, 0.06])
    assert metric(found, "rewards/margins") == pytest.approx([0.12, -0.18])
    assert found.metrics["rewards/margins"].mean().item() == pytest.approx(-0.03, abs=1e-6)
    assert metric(found, "rewards/accuracies") == [1, 0]
    assert metric(found, "logps/chosen") == [-3, -4] and metric(found, "logps/rejected") == [-3.5, -3]
    assert metric(found, "logps_avg/chosen") == [-1, -2] and metric(found, "logps_avg/rejected") == [-1.75, -0.75]
    assert metric(found, "nll/chosen") == [1, 2]
    assert metric(found, "lengths/chosen") == [3, 2] and metric(found, "lengths/rejected") == [2, 4]
    assert metric(found, "logps_drift/chosen") == pytest.approx([0.2, -1.2])
    assert metric(found, "logps_drift/rejected") == pytest.approx([-1.0, 0.6])


def test_a_tie_is_not_right_and_counted_apart():
    found = evaluate("dpo", logps=LOGPS, ref_logps=[REF[0], LOGPS[1]])
    assert metric(found, "rewards/accuracies") == [1, 0] and metric(found, "rewards/ties") == [0, 1]


def test_conservative_dpo():
    smoothed = [0.6469461016, 0.7691917248]
    golden("cdpo", smoothed)
    golden("dpo", smoothed, label_smoothing=0.1)
    gradient("cdpo", [[-0.0370035948, 0.0370035948], [-0.0444878892, 0.0444878892]])
    for e in (0.05, 0.1, 0.3):
        golden("cdpo", [0.6931471806] * 2, AT_REFERENCE, label_smoothing=e)
        best = math.log((1 - e) / e) / 0.1
        at = evaluate("cdpo", logps=[[best, 0.0]], ref_logps=[[0.0, 0.0]], label_smoothing=e)
        assert at.grad_logps.abs().max().item() == pytest.approx(0.0, abs=1e-12)
    assert math.log(9) / 0.1 == pytest.approx(21.97, abs=5e-3)


def test_dpo_with_a_margin():
    for name in ("dpo_gamma", "odpo", "dpo"):
        golden(name, [0.9010896139, 1.0898667350], gamma=0.5)
    golden("dpo_gamma", [0.9010896139, 1.0898667350])
    golden("dpo_gamma", [1.2269761000, 1.4479476779], gamma=1.0)
    golden("dpo_gamma", [0.9740769842] * 2, AT_REFERENCE)
    golden("dpo_gamma", [0.8630896139, 1.0218667350], label_smoothing=0.1)
    gradient("dpo_gamma", [[-0.0593873103, 0.0593873103], [-0.0663738697, 0.0663738697]])
    # gamma / beta is 5 nats; the rewards do not include it.
    found = evaluate("dpo_gamma", logps=[[6.0, 0.0], [4.0, 0.0]], ref_logps=[[0.0, 0.0]] * 2)
    assert metric(found, "margins/above_gamma") == [1, 0]
    assert metric(found, "rewards/margins") == pytest.approx([0.6, 0.4])


def test_rpo():
    golden("rpo", [1.6349461016, 2.7871917248])
    golden("dpo", [1.6349461016, 2.7871917248], nll_weight=1.0)
    golden("rpo", [0.7021651805, 0.7221876800], nll_weight=0.005, nll_reduction="seq_sum", beta=0.01)
    total("rpo", 2.1110689132, nll_reduction="token_mean")
    # The batch's tokens divide, so that an example's share depends on its length.
    found = evaluate("rpo", nll_reduction="token_mean", **PAIRS)
    assert metric(found, "loss/nll") == pytest.approx([3 / 2.5, 4 / 2.5])


def test_length_desensitized_dpo():
    both = golden("ld_dpo", [0.6325990353, 0.7790464522], BY_TOKEN)
    assert metric(both, "rewards/margins") == pytest.approx([0.125, -0.165])
    policy = golden("ld_dpo", [0.6003927939, 0.8429153336], BY_TOKEN, ld_reference=False)
    assert metric(policy, "rewards/margins") == pytest.approx([0.195, -0.28])
    golden("dpo", [0.6325990353, 0.7790464522], BY_TOKEN, ld_alpha=0.5)
    golden("ld_dpo", DPO, BY_TOKEN, ld_alpha=1.0)
    # Against a reference of zeros the rewards are the discounted log-probs themselves.
    nothing = {**BY_TOKEN, "ref_token_logps": [[[0.0] * 4] * 2] * 2}
    alone = evaluate("ld_dpo", beta=1.0, **nothing)
    assert metric(alone, "rewards/chosen") == [-2.25, -4.0] and metric(alone, "rewards/rejected") == [-3.5, -2.0]
    reference = evaluate("ld_dpo", beta=1.0, **{**BY_TOKEN, "token_logps": [[[0.0] * 4] * 2] * 2})
    assert metric(reference, "rewards/chosen") == pytest.approx([2.5, 2.8])
    assert metric(reference, "rewards/rejected") == pytest.approx([2.5, 2.45])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5])
def test_the_tail_of_the_longer_response_has_a_discounted_gradient(alpha):
    found = evaluate("ld_dpo", ld_alpha=alpha, **BY_TOKEN)
    grads = found.grads["token_logps"]
    head, shared = grads[0, 0, 0].item(), grads[1, 1, 0].item()
    assert head < 0 < shared and found.grad_logps.abs().sum() == 0
    assert grads[0, 0].tolist() == pytest.approx([head, head, alpha * head, 0 if alpha == 0 else alpha * head])
    assert grads[0, 1, :2].tolist() == pytest.approx([-head] * 2)
    assert grads[1, 1].tolist() == pytest.approx([shared, shared, alpha * shared, alpha * shared])


def overlaps():
    """log sum p^2 of each position, for the chosen and the rejected response."""
    return [[math.log(sum(p * p for p in row)) for row in response] for response in POLICY_ROWS]


def weighted(**more):
    """Fixture rows with a difference of log-ratios of 1.2."""
    chosen, rejected = row_logps(POLICY_ROWS)
    return {"logps": [[chosen, rejected]], "ref_logps": [[chosen - 1.2, rejected]], "lengths": [[2, 1]], **more}


def test_weighted_dpo():
    chosen, rejected = overlaps()
    assert chosen == pytest.approx([-0.980829, -0.616186], abs=1e-6) and rejected == pytest.approx(
        [-0.776529], abs=1e-6
    )
    sums = [[sum(chosen), sum(rejected)]]
    found = golden("wpo", [0.5819930065], weighted(overlap=sums), beta=0.1)
    assert metric(found, "wpo/weight") == pytest.approx([0.9166022203], abs=1e-6)
    g = [(p - o) / n for p, o, n in zip(row_logps(POLICY_ROWS), sums[0], (2, 1), strict=True)]
    assert g == pytest.approx([-0.3527848503, 0.2657031657], abs=1e-6)
    raw = golden("wpo", [0.1897366596 * DPO[0]], weighted(), beta=0.1, wpo="unaligned")
    assert metric(raw, "wpo/weight") == pytest.approx([0.1897366596], abs=1e-6)


def test_weights_are_cut_at_one():
    p, overlap = math.log(0.6), overlaps()[1][0]
    assert math.exp(2 * (p - overlap)) == pytest.approx(1.701323, abs=1e-6)
    twice = {"logps": [[p, p]], "ref_logps": [[p - 1.2, p]], "lengths": [[1, 1]], "overlap": [[overlap] * 2]}
    found = golden("wpo", [DPO[0]], twice, beta=0.1)
    assert metric(found, "wpo/weight") == [1.0]


def test_weights_relative_to_greedy_decoding():
    best = [[math.log(0.5) + math.log(0.7), math.log(0.6)]]
    weight = math.exp(0.5 * (math.log(0.2) - math.log(0.7)))
    golden("wpo", [weight * DPO[0]], weighted(max_logps=best), beta=0.1, wpo="greedy")


def test_weights_can_be_normalized():
    given = {**PAIRS, "overlap": [[0.0, 0.0]] * 2}
    found = evaluate("wpo", beta=0.1, wpo_normalize=True, **given)
    w = [math.exp(-1.0 - 1.75), math.exp(-2.0 - 0.75)]
    assert found.weights.tolist() == pytest.approx(w) and found.losses.tolist() == pytest.approx(DPO)
    assert found.loss.item() == pytest.approx(sum(x * y for x, y in zip(w, DPO, strict=True)) / sum(w))
    objective = objectives.build({"name": "wpo"})
    shares = objective.summary({"wpo/weight": 0.5, "wpo/squared_weight": 0.5})
    assert shares == {"wpo/effective_share": 0.5}


@pytest.mark.parametrize(
    ("settings", "expected", "difference"),
    [
        ({"f_divergence": "forward_kl"}, [0.6026732298, 0.8412820465], [1.8995510754, -2.7713052866]),
        ({"f_divergence": "js"}, [0.6580301543, 0.7457516481], [0.7151228181, -1.0257945169]),
        ({"f_divergence": "alpha", "f_alpha": 0.5}, [0.6215230632, 0.8071119365], [1.4877677053, -2.1626011594]),
        ({"f_divergence": "alpha", "f_alpha": 0.3}, [0.6274427556, 0.7977832158], [1.3603142466, -1.9935306772]),
        # What TRL calls 0.3 is 0.7 here.
        ({"f_divergence": "alpha", "f_alpha": 0.7}, [0.6147419194, 0.8186775007], [1.6348492458, -2.3704573671]),
    ],
)
def test_other_divergences(settings, expected, difference):
    found = golden("fdpo", expected, **settings)
    golden("dpo", expected, **settings)
    scores = (found.metrics["rewards/f_chosen"] - found.metrics["rewards/f_rejected"]) / 0.1
    assert scores.tolist() == pytest.approx(difference, abs=1e-6)
    assert metric(found, "rewards/margins") == pytest.approx([0.12, -0.18])
    golden("fdpo", [0.6931471806] * 2, AT_REFERENCE, **settings)


def test_reverse_kl_is_dpo_and_js_is_the_default():
    golden("dpo", DPO, f_divergence="reverse_kl")
    golden("fdpo", [0.6580301543, 0.7457516481])


def test_gradients_of_other_divergences():
    gradient("fdpo", [[-0.0370601345, 0.1230439795], [-0.1888623926, 0.0312187435]], f_divergence="forward_kl")
    gradient("fdpo", [[-0.0217038330, 0.0352464940], [-0.0403953840, 0.0186250982]], f_divergence="js")
    gradient("fdpo", [[-0.0418825952, 0.0763150642], [-0.1009190152, 0.0410306097]], f_divergence="alpha")


def test_cut_exponents_are_counted():
    far = {"logps": [[-90.0, 0.0], [0.0, 0.0]], "ref_logps": [[0.0, 0.0]] * 2}
    found = evaluate("fdpo", f_divergence="forward_kl", **far)
    assert metric(found, "f_divergence/clamped") == [1, 0] and found.losses.isfinite().all()
    assert metric(evaluate("fdpo", f_divergence="alpha", f_alpha=0.5, **far), "f_divergence/clamped") == [0, 0]


def test_budget():
    golden("bcr", [0.6349461016, 1.4871917248], bcr_budget=0.5, bcr_unit="sum")
    golden("bcr", [0.6349461016, 1.9871917248], bcr_budget=0.0, bcr_unit="sum")
    golden("bcr", DPO, bcr_budget=2.0, bcr_unit="sum")
    gradient("bcr", [[-0.0470035948, 0.0470035948], [-1.0544878892, 0.0544878892]], bcr_budget=0.5, bcr_unit="sum")
    found = evaluate("bcr", bcr_budget=0.5, bcr_unit="sum", **PAIRS)
    assert metric(found, "bcr/excess") == pytest.approx([0, 0.7]) and metric(found, "bcr/active") == [0, 1]
    assert metric(found, "logps/chosen_drop") == pytest.approx([-0.2, 1.2])


def test_budget_per_token_and_soft():
    # The chosen response of pair 2 lost 1.2 nats in 2 tokens.
    golden("bcr", [DPO[0], DPO[1] + 3 * (0.6 - 0.1)], bcr_weight=3.0)
    soft = [0.05 * softplus((drop - 0.1) / 0.05) for drop in (-0.2 / 3, 0.6)]
    golden("bcr", [x + y for x, y in zip(DPO, soft, strict=True)], bcr_softness=0.05)


def test_dpo_per_token():
    golden("dpo_norm", [0.0571517481, 3.7732454644])
    golden("sigmoid_norm", [0.0571517481, 3.7732454644], beta=5.0)
    golden("dpo_norm", [0.6652151824, 0.7313501408], beta=0.1)
    golden("dpo_norm", [0.6931471806] * 2, AT_REFERENCE)


def test_length_regularized_dpo():
    golden("rdpo", [0.6117553389, 0.8429153336], alpha=0.05)
    golden("r_dpo", [0.4304467440, 1.4479476779], alpha=0.5)
    gradient("rdpo", [[-0.0457602059, 0.0457602059], [-0.0569546224, 0.0569546224]], alpha=0.05)
    found = evaluate("rdpo", alpha=0.05, **PAIRS)
    assert metric(found, "offset/length") == pytest.approx([0.05, -0.1])
    # With the sign that rewards length it would be these.
    for got, wrong in zip(found.losses.tolist(), [0.6587595555, 0.7339469673], strict=True):
        assert abs(got - wrong) > 0.04


def test_a_longer_chosen_response_lowers_the_loss_with_alpha():
    losses = [evaluate("rdpo", alpha=a, **PAIRS).losses.tolist() for a in (0.0, 0.05, 0.5, 1.0)]
    assert losses[0] == pytest.approx(DPO, abs=1e-6)
    assert [x[0] for x in losses] == sorted((x[0] for x in losses), reverse=True)
    assert [x[1] for x in losses] == sorted(x[1] for x in losses)
    golden("rdpo", [0.6931471806] * 2, {**AT_REFERENCE, "lengths": [[3, 3], [2, 2]]})


def test_dpo_positive():
    found = golden("dpop", [0.6349461016, 6.1820682875], beta=0.1, penalty=50.0)
    golden("smaug", [0.5292604490, 2.4319660838], beta=0.3, penalty=5.0)
    golden("dpop", DPO, beta=0.1, penalty=0.0)
    assert metric(found, "dpop/penalty") == pytest.approx([0, 1.2]) and metric(found, "dpop/active") == [0, 1]
    gradient("dpop", [[-0.0470035948, 0.0470035948], [-5.0894626347, 0.0997933849]], beta=0.1, penalty=50.0)
    golden("dpop", [0.6931471806] * 2, AT_REFERENCE)


@pytest.mark.parametrize(
    "block",
    [
        {"name": "dpo", "beta": 0.0},
        {"name": "dpo", "label_smoothing": 0.5},
        {"name": "dpo", "gamma": -0.1},
        {"name": "dpo", "nll_weight": -1.0},
        {"name": "dpo", "nll_reduction": "seq_sum"},
        {"name": "dpo", "ld_alpha": 1.5},
        {"name": "dpo", "ld_reference": False},
        {"name": "dpo", "wpo_normalize": True},
        {"name": "dpo", "f_alpha": 0.5},
        {"name": "dpo", "f_divergence": "alpha", "f_alpha": 1.0},
        {"name": "dpo", "bcr_budget": 0.1},
        {"name": "bcr", "bcr_budget": -0.1},
        {"name": "bcr", "bcr_softness": 0.0},
        {"name": "bcr", "bcr_weight": -1.0},
        {"name": "dpo_norm", "ld_alpha": 0.5},
        {"name": "rdpo", "alpha": -0.1},
        {"name": "rdpo", "gamma": 0.5},
        {"name": "dpop", "penalty": -1.0},
    ],
)
def test_settings_that_are_errors(block):
    with pytest.raises(PrefineError):
        objectives.build(block)


def test_what_modifiers_need():
    assert evaluate("dpo", token_logps=TOKENS, ref_logps=REF).losses.tolist() == pytest.approx(DPO, abs=1e-6)
    for name, missing in (("ld_dpo", "token_logps"), ("wpo", "overlap")):
        with pytest.raises(PrefineError, match=missing):
            evaluate(name, logps=LOGPS, ref_logps=REF, lengths=LENGTHS)
