"""What holds for every objective, found in the registry: limits, splits and orders of batches, signs, reductions.

`VARIANTS` are an objective's default and every change of one setting that the constructor accepts. Inputs are those
that the objective declares, and no others.
"""

import copy
import functools
import itertools
import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from prefine.component_source import REQUIRED
from prefine.errors import PrefineError
from prefine.objectives import evaluate
from prefine.objectives.base import Responses
from prefine.objectives.evaluation import needed
from prefine.objectives.pairwise import Margin, Pair
from prefine.registry import objectives

NAMES = list(objectives.entries())
LEARNED = ("logps", "token_logps", "smooth_logps", "z_squares", "seq_kl", "prompt_logps", "divergence")
MEASURED = ("overlap", "max_logps", "entropy", "kl_logps", "kl_ref_logps")
TOKENS = 6

CHANCE = {"beta_dpo": {"select": "topk"}}
"""Objectives that draw pairs by their place in the batch, with the setting that chooses by their numbers."""

every = pytest.mark.parametrize("name", NAMES)


@functools.cache
def prototype(name, changed):
    required = {s.name: "any" for s in objectives.find(name).settings if s.default is REQUIRED}
    return objectives.build({"name": name, **required, **dict(changed)})


def build(name, **changed):
    """A fresh instance; copying one is quicker than checking its settings again."""
    return copy.deepcopy(prototype(name, tuple(changed.items())))


@functools.cache
def variants(name):
    """Settings, one changed at a time."""
    out: list[dict[str, Any]] = [{}]
    for s in objectives.find(name).settings:
        if s.default is REQUIRED:
            continue
        if "Literal" in s.annotation:
            choices = eval(s.annotation.removesuffix("| None"), {"Literal": Literal}).__args__
            changes = [c for c in choices if c != s.default]
        elif s.annotation == "bool":
            changes = [not s.default]
        elif s.annotation == "float":
            changes = [s.default / 2 if s.default else 0.25]
        else:
            changes = [0.3] if s.annotation == "float | None" else []
        for change in changes:
            try:
                build(name, **{s.name: change})
            except PrefineError:
                continue
            out.append({s.name: change})
    return out


def responses_of(objective):
    return objective.group_size or (2 if objective.needs_labels else 3)


def complete(objective, logps, ref_logps, lengths, seed=0):
    """The arrays that an objective needs, for these log-probs in float64."""
    g = torch.Generator().manual_seed(seed)
    b, k = logps.shape

    def uniform(*shape):
        return torch.rand(shape, generator=g, dtype=torch.float64)

    def tokens(sums, step):
        place = torch.arange(TOKENS)
        rest = torch.where((place > 0) & (place < lengths[..., None]), step, 0.0).double()
        return torch.cat([(sums - rest.sum(-1))[..., None], rest[..., 1:]], -1)

    kl = -10 * uniform(b)
    labels = (uniform(b, k) > 0.5).double()
    labels[0], labels[-1] = 1, 0
    out = {
        "ref_logps": ref_logps,
        "scores": 2 * uniform(b, k) - 1,
        "labels": labels,
        "teacher_logps": -3 * uniform(b, k),
        "kl_logps": kl,
        "kl_ref_logps": kl - 4 * uniform(b),
        "token_logps": tokens(logps, -1 / 64),
        "ref_token_logps": tokens(ref_logps, -1 / 32),
        "overlap": -uniform(b, k) * lengths,
        "max_logps": -uniform(b, k) * lengths,
        "entropy": 3 * uniform(b, k) * lengths,
        "smooth_logps": -6 * uniform(b, k) * lengths,
        "z_squares": 9 * uniform(b, k) * lengths,
        "seq_kl": uniform(b, k) * lengths,
        "divergence": uniform(b, k) * lengths,
        "prompt_logps": -9 * uniform(b),
        "prompt_lengths": (9 * uniform(b)).long() + 1,
    }
    return {"logps": logps, "lengths": lengths, **{n: out[n] for n in needed(objective)}}


def sample(objective, b=8, seed=0, spread=4.0):
    g = torch.Generator().manual_seed(seed)
    k = responses_of(objective)
    lengths = torch.randint(1, TOKENS + 1, (b, k), generator=g)
    logps = -5.0 + spread * torch.randn(b, k, generator=g, dtype=torch.float64)
    ratios = spread * torch.randn(b, k, generator=g, dtype=torch.float64)
    return complete(objective, logps.clamp(max=-0.2), logps.clamp(max=-0.2) - ratios, lengths, seed + 1)


def cast(arrays, dtype):
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in arrays.items()}


def run(objective, arrays, whole=None):
    """Output, gradients of the losses' sum by LEARNED and MEASURED, and weights; means are over the batch `whole`."""
    leaves = {n: v.clone().requires_grad_() for n, v in arrays.items() if n in LEARNED + MEASURED}
    rest = {n: v for n, v in arrays.items() if n not in leaves}
    whole = whole or arrays
    means = {"mean_length": whole["lengths"][:, 0].double().mean().item()}
    if "prompt_lengths" in whole:
        total = (whole["lengths"][:, 0] + whole["prompt_lengths"]).double().mean().item()
        means["mean_prompt_length"] = total
    out = objective(Responses(**leaves, **rest, **means, vocab_size=1000))
    found = torch.autograd.grad(out.losses.sum(), list(leaves.values()), allow_unused=True)
    grads = {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(leaves.items(), found, strict=True)}
    weights = objective.weight(arrays["lengths"]) if out.weights is None else out.weights
    return out, grads, weights.to(out.losses.dtype)


def batch_loss(objective, arrays, whole=None):
    out, _, weights = run(objective, arrays, whole)
    return ((out.losses * weights).sum() / weights.sum()).item()


def rows(arrays, index):
    return {n: v[index] for n, v in arrays.items()}


# Limits


SQUARED_EXPONENTIALS = {"ipo": ({"f_divergence": "forward_kl"}, {"f_divergence": "alpha"})}
"""Variants whose loss of a log-ratio below -44 exceeds float32's largest number: the square of an exponential."""

TOO_STEEP_FOR_HALF = {
    "ipo": "a square, whose slope of 2 h exceeds float16's largest number, 65504",
    "sppo": "a square, whose slope of 2 (u - 500) exceeds 65504",
    "alphapo": "an exponential of the log-prob per token",
}


@every
@given(data=st.data())
@limits(max_examples=12, deadline=None)
def test_losses_and_gradients_are_finite(name, data):
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    objective = build(name)
    k = responses_of(objective)
    lowest = -6e4 if dtype == torch.float16 else -1e6
    values = data.draw(
        st.lists(st.floats(lowest, 0) | st.sampled_from([lowest, 0.0, -1e-7]), min_size=4 * k, max_size=4 * k)
    )
    sums = torch.tensor(values, dtype=torch.float64).view(2, 2, k)
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, TOKENS), min_size=2 * k, max_size=2 * k))).view(2, k)
    arrays = cast(complete(objective, sums[0], sums[1], lengths, seed=len(values)), dtype)
    out, grads, weights = run(objective, arrays)
    assert out.losses.dtype == (dtype if dtype in (torch.float32, torch.float64) else torch.float32)
    assert out.losses.isfinite().all() and weights.isfinite().all()
    if dtype != torch.float16 or name not in TOO_STEEP_FOR_HALF:
        assert all(g.isfinite().all() for g in grads.values())


EXTREMES = [0.0, -1e-7, -1.0, -90.0, -1e4, -1e6]


@every
def test_all_variants_are_finite_at_extremes(name):
    for changed, dtype in itertools.product(variants(name), (torch.float64, torch.float32)):
        if changed in SQUARED_EXPONENTIALS.get(name, ()) and dtype == torch.float32:
            continue
        objective = build(name, **changed)
        k = responses_of(objective)
        g = torch.Generator().manual_seed(3)
        if k <= 2:
            sums = torch.tensor(list(itertools.product(EXTREMES, repeat=2 * k)), dtype=torch.float64).view(-1, 2, k)
        else:
            sums = torch.tensor(EXTREMES, dtype=torch.float64)[torch.randint(6, (200, 2, k), generator=g)]
        lengths = torch.randint(1, TOKENS + 1, (len(sums), k), generator=g)
        arrays = cast(complete(objective, sums[:, 0], sums[:, 1], lengths), dtype)
        out, grads, _ = run(objective, arrays)
        assert out.losses.isfinite().all(), (changed, dtype)
        assert all(x.isfinite().all() for x in grads.values()), (changed, dtype)
        assert all(m.isfinite().all() for m in out.metrics.values()), (changed, dtype)


def test_half_precision_s_exceptions_are_real():
    for name in TOO_STEEP_FOR_HALF:
        objective = build(name)
        near = -320.0 if name == "alphapo" else -6e4
        far = torch.tensor([[near, 0.0], [0.0, near]], dtype=torch.float64)
        arrays = complete(objective, far, far.flip(1), torch.ones(2, 2, dtype=torch.long))
        assert not run(objective, cast(arrays, torch.float16))[1]["logps"].isfinite().all()
        assert run(objective, cast(arrays, torch.bfloat16))[1]["logps"].isfinite().all()


ROUNDED = {
    "ipo": 1e-6,  # the difference to a target, squared
    "pad": 1e-4,  # ten times averages of up to 1000 nats in the exponent
    "pl_dpo": 1e-6,  # differences of logsumexps of up to 100
}
"""Objectives that subtract large numbers, with the error as a share of the batch's largest loss."""


@every
def test_float32_is_near_float64(name):
    for changed in variants(name):
        if changed in SQUARED_EXPONENTIALS.get(name, ()):
            continue
        objective = build(name, **changed)
        k = responses_of(objective)
        g = torch.Generator().manual_seed(5)
        # Multiples of 1/64, so that the inputs and their differences are exact in both types.
        sums = -(torch.randint(12, 64000, (2, 200, k), generator=g).double() / 64)
        lengths = torch.randint(1, TOKENS + 1, (200, k), generator=g)
        arrays = cast(cast(complete(objective, sums[0], sums[1], lengths), torch.float32), torch.float64)
        double = run(build(name, **changed), arrays)[0].losses
        single = run(build(name, **changed), cast(arrays, torch.float32))[0].losses
        slack = 1e-7 + ROUNDED.get(name, 0.0) * double.abs().max().item()
        assert torch.allclose(single.double(), double, rtol=1e-5, atol=slack), changed


# Gradients


DETACHED = {
    "kto_pair": "the reference points",
    "bco": "the threshold",
    "bco_pair": "the threshold",
    "wpo": "the pair's weight",
    "tdpo": "the chosen response's KL",
    "beta_dpo": "beta",
}
"""Objectives whose gradient leaves out a part of the loss that depends on log-probs."""


def checked(name, fast, **changed):
    arrays = sample(build(name, **changed), b=4, seed=8, spread=1.5)
    inputs = [n for n in LEARNED if n in arrays]

    def losses(*values):
        return build(name, **changed)(
            Responses(**{**arrays, **dict(zip(inputs, values, strict=True))}, vocab_size=1000)
        ).losses

    leaves = tuple(arrays[n].clone().requires_grad_() for n in inputs)
    return torch.autograd.gradcheck(losses, leaves, raise_exception=False, fast_mode=fast)


@every
def test_gradients_are_those_of_the_loss(name):
    assert checked(name, fast=False) == (name not in DETACHED)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in DETACHED])
def test_gradients_of_all_variants(name):
    for changed in variants(name):
        if changed.get("wpo", "none") == "none":
            assert checked(name, fast=True, **changed), changed


@every
def test_no_gradient_reaches_what_only_measures(name):
    for changed in variants(name):
        objective = build(name, **changed)
        grads = run(objective, sample(objective))[1]
        for n in MEASURED:
            assert n not in grads or not grads[n].any(), (changed, n)
        assert not all((grads[n] == 0).all() for n in LEARNED if n in grads), changed


def slope_of_one(name, u, good, threshold, beta=0.1):
    """Closed forms with the threshold as a constant."""
    sign = 1.0 if good else -1.0
    x = sign * beta * (u - threshold)
    p = 1 / (1 + math.exp(x))
    return -sign * beta * (p * (1 - p) if name.startswith("kto") else p)


def test_reference_points_and_thresholds_are_constants():
    u = [[1.2, -0.4], [2.5, 0.9], [-0.3, 1.6]]
    zeros = [[0.0, 0.0]] * 3
    chosen, rejected = (sum(row[i] for row in u) / 3 for i in (0, 1))
    pair = evaluate("kto_pair", logps=u, ref_logps=zeros).grad_logps.tolist()
    for row, (w, r) in zip(pair, u, strict=True):
        expected = [slope_of_one("kto", w, True, rejected) / 2, slope_of_one("kto", r, False, chosen) / 2]
        assert row == pytest.approx(expected, abs=1e-12)
    for name, parts in (("bco_pair", 1), ("bco", 2)):
        found = evaluate(name, logps=u, ref_logps=zeros).grad_logps.tolist()
        for row, (w, r) in zip(found, u, strict=True):
            middle = (chosen + rejected) / 2
            expected = [slope_of_one("bco", w, True, middle) / parts, slope_of_one("bco", r, False, middle) / parts]
            assert row == pytest.approx(expected, abs=1e-12)


WEIGHTED = [n for n in NAMES if isinstance(build(n), Pair) and build(n).keeps_pairs]


@pytest.mark.parametrize("kind", ["sampled", "greedy", "unaligned"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_the_weight_of_a_pair_is_a_constant(name, kind):
    bare = {k: 0.0 for k in ("nll_weight", "bcr_weight") if getattr(build(name), k)}
    plain = build("dpo", beta=0.01) if name == "wpo" else build(name, **bare)
    weighted = build(name, **bare, wpo=kind)
    arrays = sample(weighted)
    a, slopes, _ = run(plain, {n: v for n, v in arrays.items() if n in {"logps", "lengths"} | needed(plain)})
    b, ours, _ = run(weighted, arrays)
    w = b.metrics["wpo/weight"]
    assert (w <= 1).all() and w.min() < 1
    assert torch.allclose(b.losses, w * a.losses)
    for n in ("logps", "token_logps"):
        if n in slopes:
            by_example = w.view(-1, *[1] * (slopes[n].dim() - 1))
            assert torch.allclose(ours[n], by_example * slopes[n])


PUSHED_AWAY = {
    "cdpo": lambda u, n: (u[:, 0] - u[:, 1] > 10 * math.log(9)).expand(2, -1).T,
    "exo": None,
    "ipo": lambda u, n: (u[:, 0] / n[:, 0] - u[:, 1] / n[:, 1] > 5).expand(2, -1).T,
    "sppo": lambda u, n: torch.stack([u[:, 0] > 500, u[:, 1] < -500], 1),
    "nca": lambda u, n: torch.stack([(0.01 * u[:, 0]).sigmoid() > 2 / 3, torch.zeros(len(u), dtype=torch.bool)], 1),
    "discopop": None,
    "apo_down": lambda u, n: torch.stack([u[:, 0].abs() < (u[:, 0] - u[:, 1]).abs(), torch.zeros(len(u)).bool()], 1),
    "mpo": None,
}
"""Pair objectives that lower some chosen or raise some rejected responses, and where: (B, 2) from u and lengths."""


@pytest.mark.parametrize("name", [n for n in NAMES if build(n).group_size == 2])
def test_chosen_responses_are_raised_and_rejected_ones_lowered(name):
    objective = build(name)
    g = torch.Generator().manual_seed(11)
    shape = (4000, 2)
    scale = 10 ** (4 * torch.rand(4000, 1, generator=g, dtype=torch.float64) - 1)
    u = scale * torch.randn(shape, generator=g, dtype=torch.float64)
    ref = -scale * 3 * (1 + torch.rand(shape, generator=g, dtype=torch.float64))
    logps = (ref + u).clamp(max=-0.01)
    lengths = torch.randint(1, TOKENS + 1, shape, generator=g)
    grads = run(objective, complete(objective, logps, ref, lengths))[1]
    slope = grads["token_logps"][..., 0] if grads["logps"].abs().sum() == 0 else grads["logps"]
    wrong = torch.stack([slope[:, 0] > 1e-15, slope[:, 1] < -1e-15], 1)
    assert wrong.any() == (name in PUSHED_AWAY)
    where = PUSHED_AWAY.get(name)
    if where is not None:
        expected = where(logps - ref, lengths)
        # Slopes that round to zero have no sign.
        assert torch.equal(wrong, expected & (slope.abs() > 1e-15))
    assert (slope[:, 0] < 0).any() or name == "apo_down"
    assert (slope[:, 1] > 0).any()


def test_exo_and_soft_labels_turn_at_their_targets():
    for z, sign in ((math.log(999) - 0.1, -1), (math.log(999) + 0.1, 1)):
        found = evaluate("exo", logps=[[z, 0.0]], ref_logps=[[0.0, 0.0]], beta=1.0)
        assert found.grad_logps[0, 0].sign() == sign
    for z, sign in ((1.4, -1), (1.6, 1)):
        found = evaluate("mpo", logps=[[z, 0.0]], ref_logps=[[0.0, 0.0]], scores=[[2.0, 0.5]], beta=1.0)
        assert found.grad_logps[0, 0].sign() == sign


# Batches


@every
def test_the_order_of_examples_is_carried_over(name):
    for changed in variants(name):
        changed = {**changed, **CHANCE.get(name, {})}
        try:
            objective = build(name, **changed)
        except PrefineError:
            continue
        arrays = sample(objective)
        order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
        (a, slopes, weights), (b, moved, moved_weights) = (
            run(build(name, **changed), x) for x in (arrays, rows(arrays, order))
        )
        for n, slope in slopes.items():
            assert torch.allclose(slope[order], moved[n], atol=1e-12), (changed, n)
        if not objective.coupled:
            assert torch.allclose(a.losses[order], b.losses, atol=1e-12), changed
            assert torch.allclose(weights[order], moved_weights), changed
        whole, mixed = (batch_loss(build(name, **changed), x) for x in (arrays, rows(arrays, order)))
        assert whole == pytest.approx(mixed, rel=1e-12), changed


@every
def test_uncoupled_objectives_do_not_depend_on_how_a_batch_is_cut(name):
    for changed in variants(name):
        objective = build(name, **changed)
        if objective.coupled:
            continue
        arrays = sample(objective)
        whole, slopes, weights = run(objective, arrays)
        parts = [run(objective, rows(arrays, slice(i, i + n)), arrays) for i, n in ((0, 4), (4, 3), (7, 1))]
        assert torch.allclose(whole.losses, torch.cat([p[0].losses for p in parts]), atol=1e-12), changed
        assert torch.allclose(weights, torch.cat([p[2] for p in parts])), changed
        for n, slope in slopes.items():
            assert torch.allclose(slope, torch.cat([p[1][n] for p in parts]), atol=1e-12), (changed, n)
        assert whole.weights is None, changed


@pytest.mark.parametrize("name", [n for n in NAMES if build(n).coupled])
def test_coupled_objectives_do_and_say_so(name):
    assert "scope:" in objectives.find(name).doc.lower()
    arrays = sample(build(name))
    whole = batch_loss(build(name), arrays)
    halves = [batch_loss(build(name), rows(arrays, s), arrays) for s in (slice(0, 4), slice(4, 8))]
    assert abs(whole - sum(halves) / 2) > 1e-6


@every
def test_metrics_are_per_example_and_detached(name):
    for changed in variants(name):
        objective = build(name, **changed)
        out, _, weights = run(objective, sample(objective))
        assert out.losses.shape == weights.shape == (8,) and (weights >= 0).all() and weights.sum() > 0, changed
        for key, value in out.metrics.items():
            assert value.shape == (8,) and not value.requires_grad, (changed, key)


@every
def test_evaluation_leaves_the_state(name):
    objective = build(name)
    run(objective, sample(objective))
    trained = {n: v.clone() for n, v in objective.state_dict().items()}
    objective.eval()
    first, _, _ = run(objective, sample(objective, seed=1))
    again, _, _ = run(objective, sample(objective, seed=1))
    assert torch.equal(first.losses, again.losses)
    for n, v in objective.state_dict().items():
        assert torch.equal(v, trained[n]), n
    if trained:
        fresh = build(name)
        fresh.load_state_dict(trained)
        run(fresh, sample(fresh, seed=1))
        assert not all(torch.equal(v, trained[n]) for n, v in fresh.state_dict().items())


@pytest.mark.parametrize("name", [n for n in NAMES if build(n).needs_labels])
def test_single_responses_and_empty_classes(name):
    for labels, k in itertools.product(([1.0] * 3, [0.0] * 3, [1.0, 0.0, 1.0]), (1, 3)):
        objective = build(name)
        arrays = sample(objective, b=3)
        arrays = {n: v[:, :1].expand(-1, k).clone() if v.dim() == 2 else v for n, v in arrays.items()}
        arrays["labels"] = torch.tensor(labels, dtype=torch.float64)[:, None].expand(-1, k).clone()
        for _ in range(2):
            out, grads, weights = run(objective, arrays)
            assert out.losses.isfinite().all() and grads["logps"].isfinite().all()
            assert all(m.isfinite().all() for m in out.metrics.values()) and weights.tolist() == [k] * 3
        for side, present in (("chosen", 1.0 in labels), ("rejected", 0.0 in labels)):
            assert (f"rewards/{side}" in out.metrics) == present


# Values where the policy is the reference


@every
def test_start_loss_is_the_loss_at_the_reference(name):
    for changed in variants(name):
        objective = build(name, **changed)
        value = objective.start_loss()
        if value is None:
            continue
        for seed in (0, 1):
            arrays = sample(objective, seed=seed)
            for n, other in (("ref_logps", "logps"), ("ref_token_logps", "token_logps"), ("kl_ref_logps", "kl_logps")):
                if n in arrays:
                    arrays[n] = arrays[other]
            if "seq_kl" in arrays:
                arrays["seq_kl"] = torch.zeros_like(arrays["seq_kl"])
            losses = run(build(name, **changed), arrays)[0].losses
            assert losses.tolist() == pytest.approx([value] * 8, rel=1e-12), changed


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("dpo", {}, math.log(2)),
        ("cdpo", {"label_smoothing": 0.3}, math.log(2)),
        ("robust", {"label_smoothing": 0.3}, math.log(2)),
        ("fdpo", {"f_divergence": "js"}, math.log(2)),
        ("fdpo", {"f_divergence": "forward_kl"}, math.log(2)),
        ("bcr", {}, math.log(2)),
        ("ipo", {"tau": 0.3}, 1 / (4 * 0.3**2)),
        ("hinge", {"delta": 1.7}, 1.7),
        ("dpo_gamma", {"gamma": 0.7}, math.log1p(math.exp(0.7))),
        ("kto", {"desirable_weight": 1.4, "undesirable_weight": 1.4}, 0.7),
        ("kto_pair", {}, 0.5),
        ("apo_zero", {}, 1.0),
        ("apo_down", {}, 1.0),
        ("nca", {}, 2 * math.log(2)),
        ("sppo", {"beta": 0.01}, 1 / (2 * 0.01**2)),
        ("discopop", {}, (1 + math.log(2)) / 2),
        ("aot", {}, math.log(2)),
        ("aot_unpaired", {}, math.log(2)),
        ("tdpo", {}, math.log(2)),
        ("mallows", {}, math.log(2)),
        ("beta_dpo", {}, math.log(2)),
    ],
)
def test_start_losses(name, given, expected):
    assert build(name, **given).start_loss() == pytest.approx(expected, rel=1e-12)


def test_what_has_no_start_loss():
    for name, settings in (
        ("rpo", {}),
        ("wpo", {}),
        ("fcpo", {}),
        ("rdpo", {}),
        ("simpo", {}),
        ("ld_dpo", {"ld_reference": False}),
        ("bcr", {"bcr_softness": 0.1}),
        ("kto", {"desirable_weight": 1.3}),
        ("sppo", {"preference": "bradley_terry"}),
        ("dpo", {"nll_weight": 0.1}),
    ):
        assert build(name, **settings).start_loss() is None, name
    assert build("rdpo", alpha=0.0).start_loss() == pytest.approx(math.log(2))


# Reductions


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dpo_gamma", {"gamma": 0.0}),
        ("cdpo", {"label_smoothing": 0.0}),
        ("robust", {"label_smoothing": 0.0}),
        ("dpop", {"beta": 0.1, "penalty": 0.0}),
        ("ld_dpo", {"ld_alpha": 1.0}),
        ("rdpo", {"alpha": 0.0}),
        ("bcr", {"bcr_weight": 0.0}),
        ("bcr", {"bcr_budget": 1e9}),
        ("rpo", {"nll_weight": 0.0}),
        ("fpo", {"gamma": 0.0}),
        ("tdpo", {"alpha": 0.0}),
        ("beta_dpo", {"a": 0.0, "q": 0.0}),
        ("dpo", {"f_divergence": "alpha", "f_alpha": 1e-9}),
        ("fdpo", {"f_divergence": "alpha", "f_alpha": 1e-9}),
        ("pl_dpo", {}),
        ("lipo", {"weighting": "pairs"}),
        ("info_nca", {"beta": 0.1, "temperature": 1e-3}),
        ("aot", {}),
        ("aot_unpaired", {}),
    ],
)
def test_reductions_to_dpo(name, given):
    reduced, dpo = build(name, **given), build("dpo")
    for seed in range(4):
        arrays = sample(dpo, b=1 if name.startswith("aot") else 8, seed=seed)
        expected, slopes, _ = run(dpo, arrays)
        more = complete(reduced, arrays["logps"], arrays["ref_logps"], arrays["lengths"])
        if "scores" in more:
            more["scores"] = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(8, 2).clone()
        out, ours, weights = run(reduced, more)
        assert torch.allclose(out.losses, expected.losses, rtol=1e-6), seed
        assert torch.allclose(ours["logps"], slopes["logps"], rtol=1e-5) and (weights == 1).all()


def test_forward_kl_is_alpha_1():
    dpo = sample(build("dpo"), spread=1.0)
    limit = run(build("fdpo", f_divergence="alpha", f_alpha=1 - 1e-9), dpo)[0].losses
    assert torch.allclose(limit, run(build("fdpo", f_divergence="forward_kl"), dpo)[0].losses, rtol=1e-6)


def test_cpo_is_dpo_with_a_reference_of_zeros_and_an_nll():
    arrays = sample(build("cpo"))
    expected = run(build("dpo"), {**arrays, "ref_logps": torch.zeros_like(arrays["logps"])})[0].losses
    assert torch.allclose(run(build("cpo", nll_weight=0.0), arrays)[0].losses, expected)
    for reduction in ("token_mean", "seq_mean", "seq_sum"):
        n = {"token_mean": arrays["lengths"][:, 0].double().mean(), "seq_mean": arrays["lengths"][:, 0], "seq_sum": 1}
        nll = -arrays["logps"][:, 0] / n[reduction]
        out = run(build("cpo", nll_weight=0.7, nll_reduction=reduction), arrays)[0]
        assert torch.allclose(out.losses, expected + 0.7 * nll)


def test_simpo_of_equal_lengths_is_cpo_without_an_nll():
    arrays = sample(build("simpo"))
    arrays["lengths"] = torch.full_like(arrays["lengths"], 4)
    simpo = run(build("simpo", beta=2.0, gamma=0.0), arrays)[0].losses
    assert torch.allclose(simpo, run(build("cpo", beta=0.5, nll_weight=0.0), arrays)[0].losses)


def test_apo_zero_is_kto_without_a_reference_point():
    arrays = sample(build("apo_zero"))
    kto = build("kto", z0="zero")
    labels = torch.tensor([[1.0, 0.0]]).expand(8, 2)
    halves = run(kto, {**arrays, "labels": labels})[0].losses
    assert torch.allclose(run(build("apo_zero"), arrays)[0].losses, 2 * halves)


def test_vpd_of_two_responses_is_simpo_without_a_margin():
    arrays = sample(build("simpo"))
    scores = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(8, 2)
    vpd = run(build("pad", loss="vpd", beta=2.0), {**arrays, "scores": scores})[0].losses
    assert torch.allclose(vpd, run(build("simpo", beta=2.0, gamma=0.0), arrays)[0].losses)


def test_bco_pair_without_a_threshold_is_bco_of_both_responses():
    arrays = sample(build("bco_pair"))
    labels = torch.tensor([[1.0, 0.0]]).expand(8, 2)
    for delta in ("zero", "ema"):
        single = run(build("bco", delta=delta), {**arrays, "labels": labels})[0].losses
        assert torch.allclose(run(build("bco_pair", delta=delta), arrays)[0].losses, 2 * single)


# Symmetry and shifts


def is_link_of_z(objective):
    if not isinstance(objective, Margin) or type(objective).preference_loss is not Margin.preference_loss:
        return False
    return objective.wpo == "none" and objective.nll_weight == objective.bcr_weight == 0


@pytest.mark.parametrize("name", [n for n in NAMES if is_link_of_z(build(n))])
def test_swapping_the_responses_negates_z(name):
    objective = build(name)
    arrays = sample(objective)
    swapped = {n: v.flip(1) for n, v in arrays.items()}
    scores = objective.scores(Responses(**arrays))[0]
    z = objective.beta * (scores[:, 0] - scores[:, 1])
    for x, given_z in ((arrays, z), (swapped, -z)):
        expected = objective.link(given_z - objective.offset(Responses(**x)))
        assert torch.allclose(run(objective, x)[0].losses, expected)


def test_dpo_of_swapped_responses():
    arrays = sample(build("dpo"))
    a, b = (run(build("dpo"), x)[0].losses for x in (arrays, {n: v.flip(1) for n, v in arrays.items()}))
    u = arrays["logps"] - arrays["ref_logps"]
    assert torch.allclose(b - a, 0.1 * (u[:, 0] - u[:, 1]))


MOVED_BY_SHIFTS = {
    "rpo": "the likelihood of the chosen response",
    "fcpo": "a preference without the reference",
    "wpo": "the likelihood of the pair",
    "aot": "margins of policy and reference sorted apart",
}


@pytest.mark.parametrize("name", [n for n in NAMES if build(n).needs_reference])
def test_a_shift_of_policy_and_reference_changes_nothing(name):
    objective = build(name)
    arrays = sample(objective)
    shift = torch.linspace(-3, 4, 8, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.0])[:2].double()
    shift = torch.nn.functional.pad(shift, (0, responses_of(objective) - 2))
    moved = dict(arrays)
    for n in ("logps", "ref_logps"):
        moved[n] = arrays[n] + shift
    for n in ("token_logps", "ref_token_logps"):
        if n in arrays:
            moved[n] = torch.cat([arrays[n][..., :1] + shift[..., None], arrays[n][..., 1:]], -1)
    before, after = (run(build(name), x)[0].losses for x in (arrays, moved))
    assert torch.allclose(before, after, atol=1e-9) == (name not in MOVED_BY_SHIFTS)


def test_every_objective_has_a_formula_and_a_paper():
    for name, entry in objectives.entries().items():
        assert "Formula:" in entry.doc and "Paper:" in entry.doc and "Defaults:" in entry.doc, name
