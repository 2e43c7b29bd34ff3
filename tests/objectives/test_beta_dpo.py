"""beta-DPO on four pairs with gaps 1.2, -1.8, 0.6, 3.0 (mean 0.75, deviation 1.982423)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.objectives.base import Responses
from prefine.objectives.beta_dpo import BetaDPO
from prefine.objectives.dpo import DPO
from prefine.registry import objectives

GAPS = [1.2, -1.8, 0.6, 3.0]
DTYPES = [(torch.float64, 1e-6), (torch.float32, 2e-5)]


def pairs(gaps=GAPS, dtype=torch.float64):
    logps = torch.tensor([[g - 5.0, -5.0] for g in gaps], dtype=dtype, requires_grad=True)
    return Responses(logps, torch.full(logps.shape, 2), ref_logps=torch.full_like(logps, -5.0).detach())


def at(m0, s0, **settings):
    """With a state, as after one update, in training mode."""
    objective = BetaDPO(**settings)
    objective.M0.fill_(m0)
    objective.s0.fill_(s0)
    objective.count.fill_(1)
    return objective


def state(objective):
    return objective.M0.item(), objective.s0.item(), objective.count.item()


def mean_loss(out):
    return ((out.weights * out.losses).sum() / out.weights.sum()).item()


def metric(out, name):
    return out.metrics[f"beta_dpo/{name}"].tolist()


POST = {"m0_update": "post"}
TOPK = {"m0_update": "post", "select": "topk"}


@pytest.mark.parametrize(("dtype", "slack"), DTYPES)
def test_loss_of_the_nearest_three(dtype, slack):
    objective = at(0.4, 1.0, **TOPK)
    out = objective(pairs(dtype=dtype))
    assert metric(out, "beta") == pytest.approx([0.076] * 4, abs=1e-6)
    assert out.losses.tolist() == pytest.approx([0.6485865004, 0.7638846388, 0.6706070780, 0.5856311545], abs=slack)
    assert out.weights.tolist() == [1, 1, 1, 0]
    assert mean_loss(out) == pytest.approx(0.6943594057, abs=slack)
    assert out.losses.dtype == dtype and objective.M0.dtype == torch.float64
    assert state(objective) == pytest.approx((0.435, 1.0982422760, 2), abs=1e-6)


def test_weights_at_a_state():
    w = [0.7261490370, 0.0889216175, 0.9801986733, 0.0340474547]
    out = at(0.4, 1.0, **POST)(pairs())
    assert metric(out, "weight_ess")[0] == pytest.approx(sum(w) ** 2 / sum(x * x for x in w) / 4, abs=1e-9)
    # At K = 1 a pair is drawn with the probability of its weight.
    objective, drawn = at(0.4, 1.0, q=0.75, **POST), torch.zeros(4, dtype=torch.float64)
    for count in range(2000):
        objective.M0.fill_(0.4)
        objective.s0.fill_(1.0)
        objective.count.fill_(count + 1)
        drawn += objective(pairs()).weights
    for share, x in zip((drawn / 2000).tolist(), w, strict=True):
        p = x / sum(w)
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 2000)


def test_zero_start_moves_before_use_as_released():
    for objective in (BetaDPO(init="zero", select="topk"), BetaDPO(released=True)):
        out = objective(pairs())
        assert state(objective) == pytest.approx((0.075, 0.1982422760, 1), abs=1e-6)
        assert metric(out, "M0") == pytest.approx([0.075] * 4)
        # Of the weights 1e-7, 4e-20, 0.03 and 5e-48 all but the third are nearly zero; three pairs stay nevertheless.
        assert out.weights[2] == 1 and out.weights.sum() == 3
        assert metric(out, "weight_ess")[0] == pytest.approx(0.25, abs=1e-4)


def test_first_batch_starts_the_state():
    objective = BetaDPO()
    out = objective(pairs())
    assert state(objective) == pytest.approx((0.75, 1.9824227602, 1), abs=1e-9)
    assert metric(out, "gap_mean") == pytest.approx([0.75] * 4)
    assert metric(out, "gap_std") == pytest.approx([1.9824227602] * 4)


def test_beta_has_a_floor_and_a_ceiling():
    out = at(0.4, 1.0, **TOPK)(pairs([g - 4 for g in GAPS]))
    assert metric(out, "beta") == [0.001] * 4 and metric(out, "floor_hit") == [1] * 4
    assert out.losses[:3].mean().item() == pytest.approx(0.6951493906, abs=1e-6)
    far = [g + 1000 for g in GAPS]
    assert metric(at(0.4, 1.0)(pairs(far)), "beta") == [1.0] * 4
    assert metric(at(0.4, 1.0, beta_ceiling=0.3)(pairs(far)), "beta") == [0.3] * 4
    assert metric(at(0.4, 1.0, released=True)(pairs(far)), "beta")[0] > 10


def test_without_filter():
    for settings in ({"q": 0.0}, {"select": "none"}):
        out = at(0.4, 1.0, **POST, **settings)(pairs())
        assert out.weights.tolist() == [1] * 4 and metric(out, "beta") == pytest.approx([0.121] * 4)
        assert mean_loss(out) == pytest.approx(0.6541699729, abs=1e-6)


def test_one_beta_per_pair():
    out = at(0.4, 1.0, scope="instance", **TOPK)(pairs())
    assert metric(out, "beta") == pytest.approx([0.148, 0.001, 0.112, 0.256], abs=1e-9)
    assert out.losses.tolist() == pytest.approx([0.6082847297, 0.6940475856, 0.6601115544, 0.3811314455], abs=1e-6)


def test_gaps_scaled_as_rewards():
    assert metric(at(0.04, 0.1, gap_scale="reward", **TOPK)(pairs()), "beta") == pytest.approx([0.0976] * 4, abs=1e-9)


def test_equal_states_give_equal_results_and_evaluation_changes_none():
    first, second = at(0.4, 1.0, q=0.5, seed=3), at(0.4, 1.0, q=0.5, seed=3)
    for _ in range(5):
        a, b = first(pairs()), second(pairs())
        assert torch.equal(a.losses, b.losses) and torch.equal(a.weights, b.weights) and state(first) == state(second)
    resumed = BetaDPO(q=0.5, seed=3)
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(resumed(pairs()).weights, first(pairs()).weights) and state(resumed) == state(first)
    for objective in (at(0.4, 1.0).eval(), BetaDPO().eval()):
        before = state(objective)
        a, b = objective(pairs()), objective(pairs())
        assert torch.equal(a.losses, b.losses) and state(objective) == before and a.weights.tolist() == [1] * 4
    released = BetaDPO(released=True).eval()
    assert released(pairs()).weights.sum() == 3 and state(released)[2] == 1


def test_the_selection_follows_the_seed_and_the_count():
    def selections(seed):
        objective = BetaDPO(q=0.5, seed=seed)
        return [tuple(objective(pairs(GAPS * 4)).weights.tolist()) for _ in range(4)]

    assert selections(1) == selections(1) != selections(2) and len(set(selections(1))) > 1


def test_equal_gaps_and_single_pairs_are_finite():
    for settings in ({}, {"released": True}, {"init": "zero"}, {"m0_update": "post"}, {"scope": "instance"}):
        for gaps in ([0.0] * 4, [0.7], [0.0]):
            objective, responses = BetaDPO(**settings), pairs(gaps)
            for _ in range(3):
                out = objective(responses)
                (grad,) = torch.autograd.grad(out.losses.sum(), responses.logps)
                assert torch.isfinite(out.losses).all() and torch.isfinite(grad).all() and out.weights.sum() >= 1
                assert all(torch.isfinite(v).all() and v.shape == (len(gaps),) for v in out.metrics.values())
            assert all(math.isfinite(x) for x in state(objective))
    assert BetaDPO()(pairs([0.0] * 4)).losses.tolist() == pytest.approx([math.log(2)] * 4, abs=1e-12)
    assert BetaDPO().start_loss() == math.log(2) and BetaDPO(nll_weight=1.0).start_loss() is None


def test_without_a_and_filter_it_is_dpo():
    ours, dpo = pairs(), pairs()
    out, expected = BetaDPO(a=0.0, q=0.0)(ours), DPO(beta=0.1)(dpo)
    assert torch.equal(out.losses, expected.losses) and mean_loss(out) == expected.losses.mean().item()
    out.losses.sum().backward()
    expected.losses.sum().backward()
    assert torch.equal(ours.logps.grad, dpo.logps.grad)
    assert out.metrics["rewards/margins"].tolist() == expected.metrics["rewards/margins"].tolist()


def test_beta_and_selection_get_no_gradient():
    responses = pairs()
    objective = at(0.4, 1.0, **TOPK)
    (grad,) = torch.autograd.grad(objective(responses).losses.sum(), responses.logps)
    expected = [-0.076 / (1 + math.exp(0.076 * g)) for g in GAPS]
    assert grad[:, 0].tolist() == pytest.approx(expected, abs=1e-9) and torch.equal(grad[:, 0], -grad[:, 1])


def test_micro_batches_move_the_state_one_by_one():
    settings = {"select": "topk", "q": 0.5}
    whole, parts = BetaDPO(window="micro", micro_size=2, **settings), BetaDPO(**settings)
    out = whole(pairs())
    first, second = parts(pairs(GAPS[:2])), parts(pairs(GAPS[2:]))
    assert out.losses.tolist() == [*first.losses.tolist(), *second.losses.tolist()]
    assert out.weights.tolist() == [*first.weights.tolist(), *second.weights.tolist()]
    assert state(whole) == state(parts) and state(whole)[2] == 2


def test_modifiers_and_means_over_kept_pairs():
    out = at(0.4, 1.0, nll_weight=0.5, **TOPK)(pairs())
    plain = at(0.4, 1.0, **TOPK)(pairs())
    assert torch.allclose(out.losses - plain.losses, -0.5 * pairs().logps[:, 0].detach() / 2)
    assert out.metrics["loss/kept"].mean().item() == pytest.approx(mean_loss(out))
    assert out.metrics["loss/all"].mean().item() == pytest.approx(out.losses.mean().item())
    assert metric(out, "kept") == [1, 1, 1, 0]
    weighted = at(0.4, 1.0, wpo="unaligned", wpo_normalize=True, **TOPK)(pairs())
    assert torch.allclose(weighted.weights, plain.weights * weighted.metrics["wpo/weight"])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_losses_and_gradients_stay_finite(gaps, single, instance):
    dtype = torch.float32 if single else torch.float64
    for settings in ({"scope": "instance"} if instance else {}, {"released": True}):
        objective, responses = BetaDPO(**settings), pairs(gaps, dtype)
        for _ in range(2):
            out = objective(responses)
            (grad,) = torch.autograd.grad(out.losses.sum(), responses.logps)
            assert torch.isfinite(out.losses).all() and torch.isfinite(grad).all()
            assert 1 <= out.weights.sum() <= len(gaps)
            expected = int(len(gaps) * 0.8) if "released" in settings else round(len(gaps) * 0.8)
            assert out.weights.sum() in (max(1, expected), len(gaps))


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.0},
        {"a": -0.1},
        {"q": 1.0},
        {"q": 0.1, "select": "none"},
        {"momentum": 1.0},
        {"beta_floor": 0.2},
        {"beta_ceiling": 0.05},
        {"window": "micro"},
        {"window": "micro", "micro_size": 1},
        {"micro_size": 4},
        {"seed": 1, "select": "topk"},
        {"released": True, "scope": "instance"},
        {"released": True, "select": "none"},
        {"released": True, "m0_update": "post"},
        {"released": True, "init": "first_batch"},
        {"released": True, "beta_ceiling": 1.0},
        {"nll_weight": -1.0},
    ],
)
def test_settings_that_are_errors_are_so_when_a_recipe_is_read(settings):
    with pytest.raises(ValueError):
        BetaDPO(**settings)
    with pytest.raises(PrefineError):
        objectives.check({"name": "beta_dpo", **settings})


def test_a_recipe_builds_it():
    objective = objectives.build({"name": "beta_dpo", "released": True, "window": "micro", "micro_size": 32})
    assert objective.coupled and objective.beta_ceiling == math.inf
    with_modifier = objectives.build({"name": "beta_dpo", "nll_weight": 0.2, "ld_alpha": 0.5})
    assert with_modifier.statistics == {"token_logps", "ref_token_logps"}
