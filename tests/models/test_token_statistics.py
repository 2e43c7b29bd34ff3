"""Chunked statistics of the tokens' distributions against the full computation, and worked values."""

import math

import pytest
import torch

from prefine.models import head as head_module
from prefine.models.head import Head, token_logps
from prefine.models.token_statistics import DETACHED, DIFFERENTIABLE, logit_statistics, token_statistics

V, H, N = 31, 8, 50
HEADS = [(1.0, None), (0.25, None), (2.0, 3.0)]


def full_logits(hidden, head):
    z = hidden @ head.weight.t() + (0.0 if head.bias is None else head.bias)
    z = z * head.scale
    return z if head.softcap is None else head.softcap * torch.tanh(z / head.softcap)


def squares(student, teacher):
    return ((student.softmax(-1) - teacher.softmax(-1)) ** 2).sum(-1)


def squares_of_some(student, ids, logps):
    return ((student.softmax(-1).gather(-1, ids) - logps.exp()) ** 2).sum(-1)


def naive(z, labels, other, divergence):
    """Every statistic by its definition."""
    p, logp = z.softmax(-1), z.log_softmax(-1)
    q, logq = other.softmax(-1), other.log_softmax(-1)
    detached = p.detach()
    return {
        "logps": logp.gather(1, labels[:, None]).squeeze(1),
        "smooth_logps": logp.mean(-1),
        "z_squares": z.exp().sum(-1).log() ** 2,
        "seq_kl": (q * (logq - logp)).sum(-1),
        "divergence": divergence,
        "overlap": (detached**2).sum(-1).log(),
        "max_logps": detached.amax(-1).log(),
        "entropy": -(detached * detached.log()).sum(-1),
        "hits": (detached.argmax(-1) == labels).double(),
    }


def parts(bias, scale, softcap, vocabulary=V, seed=1, dtype=torch.float64):
    torch.manual_seed(seed)
    hidden = torch.randn(N, H, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, H, dtype=dtype, requires_grad=True)
    b = torch.randn(vocabulary, dtype=dtype, requires_grad=True) if bias else None
    return hidden, Head(weight, b, scale, softcap), torch.randint(0, V, (N,))


@pytest.fixture(params=[0, V * 20, 1 << 22], ids=["16 rows", "20 rows", "all rows"])
def chunked(request, monkeypatch):
    """Rows in a chunk; 50 rows are no multiple of the first two. Tiles are small, and some of their products kept."""
    monkeypatch.setattr(head_module, "LOGITS_IN_CHUNK", {"cpu": request.param})
    monkeypatch.setattr(head_module, "ROWS_IN_TILE", {"cpu": 16})
    monkeypatch.setattr(head_module, "KEPT_BYTES", {"cpu": V * 8 * 20})
    return max(16, request.param // V)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), HEADS)
def test_values_and_gradients_equal_the_full_computation(chunked, bias, scale, softcap, stored):
    other_hidden, other_head, _ = parts(not bias, 0.5, softcap, seed=2)
    other = full_logits(other_hidden, other_head).detach()
    top = other.log_softmax(-1).topk(4, -1)
    targets = (top.indices, top.values) if stored else None
    seen = []

    def divergence(student, *rest):
        seen.append(len(student))
        return (squares_of_some if stored else squares)(student, *rest)

    runs = []
    for fast in (False, True):
        hidden, head, labels = parts(bias, scale, softcap)
        if fast:
            names = DIFFERENTIABLE | DETACHED
            others = {"other_hidden": other_hidden, "other_head": other_head, "targets": targets}
            out = token_statistics(hidden, head, labels, names, divergence=divergence, **others)
        else:
            z = full_logits(hidden, head)
            out = naive(z, labels, other, squares_of_some(z, *targets) if stored else squares(z, other))
        torch.manual_seed(3)
        coefficients = {name: torch.randn(N, dtype=torch.float64) for name in sorted(DIFFERENTIABLE)}
        sum((coefficients[name] * out[name]).sum() for name in coefficients).backward()
        assert {name for name, value in out.items() if value.requires_grad} == DIFFERENTIABLE
        leaves = [hidden, head.weight, *([head.bias] if bias else [])]
        runs.append(({name: value.detach() for name, value in out.items()}, [leaf.grad for leaf in leaves]))
    assert max(seen) <= chunked
    assert other_hidden.grad is None and other_head.weight.grad is None
    (want, want_grads), (got, got_grads) = runs
    assert want.keys() == got.keys()
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-10, atol=1e-10)
    for one, two in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_each_statistic_has_its_own_gradient(chunked, name):
    """One name asked for, or one output used: the others neither come nor count."""
    other_hidden, other_head, _ = parts(False, 1.0, None, seed=2)
    others = {"other_hidden": other_hidden, "other_head": other_head, "divergence": squares}
    grads = []
    for names in ({name}, DIFFERENTIABLE | DETACHED):
        hidden, head, labels = parts(True, 1.0, None)
        out = token_statistics(hidden, head, labels, names, **others)
        assert out.keys() == set(names)
        out[name].sum().backward()
        grads.append([hidden.grad, head.weight.grad, head.bias.grad])
    z = full_logits(*(p := parts(True, 1.0, None))[:2])
    other = full_logits(other_hidden, other_head).detach()
    naive(z, p[2], other, squares(z, other))[name].sum().backward()
    for got in grads:
        for one, two in zip(got, [p[0].grad, p[1].weight.grad, p[1].bias.grad], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_gradcheck():
    hidden, head, labels = parts(True, 0.5, 4.0)
    hidden, labels = hidden[:5].detach().requires_grad_(), labels[:5]
    other, _, _ = parts(False, 1.0, None, seed=2)
    fixed = Head(torch.randn(V, H, dtype=torch.float64))

    def compute(h, w, b):
        head = Head(w, b, 0.5, 4.0)
        given = {"other_hidden": other[:5].detach(), "other_head": fixed, "divergence": squares}
        return tuple(token_statistics(h, head, labels, DIFFERENTIABLE, **given).values())

    assert torch.autograd.gradcheck(compute, (hidden, head.weight, head.bias))


def test_no_rows():
    hidden, head, labels = parts(True, 1.0, None)
    other = hidden[:0].detach()
    names = DIFFERENTIABLE | DETACHED
    out = token_statistics(hidden[:0], head, labels[:0], names, other_hidden=other, other_head=head, divergence=squares)
    assert out.keys() == names and all(v.shape == (0,) and v.dtype == torch.float64 for v in out.values())
    sum(out[name].sum() for name in DIFFERENTIABLE).backward()
    assert not head.weight.grad.any() and not head.bias.grad.any() and not hidden.grad.any()


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both"])
def test_only_what_needs_a_gradient_gets_one(frozen):
    hidden, head, labels = parts(False, 1.0, None)
    hidden.requires_grad_(frozen == "weight")
    head.weight.requires_grad_(frozen == "hidden")
    out = token_statistics(hidden, head, labels, {"logps", "z_squares", "entropy"})
    assert out["logps"].requires_grad is (frozen != "both") and not out["entropy"].requires_grad
    if frozen != "both":
        (out["logps"] + out["z_squares"]).sum().backward()
    assert (hidden.grad is None) is (frozen != "weight") and (head.weight.grad is None) is (frozen != "hidden")


def test_detached_statistics_alone_leave_no_gradient():
    hidden, head, labels = parts(False, 1.0, None)
    out = token_statistics(hidden, head, labels, DETACHED)
    assert not any(value.requires_grad for value in out.values())


def test_bf16_hidden_states_under_autocast(chunked):
    """Logits are products of bf16 numbers; all that follows is float32, autocast or not."""
    hidden, head, labels = parts(True, 1.0, None, dtype=torch.float32)
    other_hidden, other_head, _ = parts(False, 1.0, None, seed=2, dtype=torch.float32)
    small, other_small = hidden.detach().bfloat16().requires_grad_(), other_hidden.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = token_statistics(
            small,
            head,
            labels,
            DIFFERENTIABLE | DETACHED,
            other_hidden=other_small,
            other_head=other_head,
            divergence=squares,
        )
        assert all(value.dtype == torch.float32 for value in out.values())
        sum(out[name].sum() for name in DIFFERENTIABLE).backward()
    z = (small.detach() @ head.weight.detach().bfloat16().t()).float() + head.bias.detach()
    z.requires_grad_()
    other = (other_small @ other_head.weight.detach().bfloat16().t()).float()
    want = naive(z, labels, other, squares(z, other))
    for name in want:
        torch.testing.assert_close(out[name].detach(), want[name].detach().float(), rtol=2e-5, atol=2e-5)
    sum(want[name].sum() for name in DIFFERENTIABLE).backward()
    torch.testing.assert_close(head.bias.grad, z.grad.sum(0), rtol=1e-4, atol=1e-4)
    assert small.grad.dtype == torch.bfloat16 and head.weight.grad.dtype == torch.float32
    weight_grad = z.grad.t() @ small.detach().float()
    assert (head.weight.grad - weight_grad).abs().max() < 2e-2 * weight_grad.abs().max()


def test_padded_vocabularies_are_cut_before_the_softmax():
    hidden, head, labels = parts(False, 1.0, None, vocabulary=V + 5)
    other_hidden, other_head, _ = parts(False, 1.0, None, vocabulary=V + 9, seed=2)
    z, other = full_logits(hidden, head), full_logits(other_hidden, other_head)
    given = {"other_hidden": other_hidden, "other_head": other_head, "divergence": squares}
    got = token_statistics(hidden, head, labels, {"logps", "seq_kl", "divergence"}, vocab_size=V, **given)
    want = naive(z[:, :V], labels, other[:, :V], squares(z[:, :V], other[:, :V]))
    for name in ("seq_kl", "divergence"):
        torch.testing.assert_close(got[name], want[name], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got["logps"], token_logps(hidden, head, labels))
    got["seq_kl"].sum().backward()
    assert not head.weight.grad[V:].any() and head.weight.grad[:V].any()
    with pytest.raises(ValueError, match="36 logits and the other model 40"):
        token_statistics(hidden, head, labels, {"seq_kl"}, **given)
    with pytest.raises(ValueError, match="vocab_size 37 exceeds the 36"):
        token_statistics(hidden, head, labels, {"seq_kl"}, vocab_size=37, **given)


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ({"margins"}, {}, "unknown token statistics: margins"),
        ({"seq_kl"}, {}, "seq_kl needs"),
        ({"divergence"}, {"divergence": squares}, "divergence needs"),
        ({"logps"}, {"other_hidden": torch.zeros(N, H)}, "go together"),
        ({"logps"}, {"targets": (torch.zeros(3, 2).long(), torch.zeros(3, 2))}, "targets has 3 rows for 50"),
    ],
)
def test_what_cannot_be_computed_is_refused(names, given, message):
    hidden, head, labels = parts(False, 1.0, None)
    with pytest.raises(ValueError, match=message):
        token_statistics(hidden, head, labels, names, **given)


def test_far_apart_logits_stay_finite():
    hidden = torch.tensor([[1.0, 0.0]], requires_grad=True)
    head = Head(torch.tensor([[1e4, 0.0], [-1e4, 0.0]], requires_grad=True))
    out = token_statistics(
        hidden,
        head,
        torch.tensor([1]),
        (DIFFERENTIABLE | DETACHED) - {"divergence"},
        other_hidden=-hidden.detach(),
        other_head=head,
    )
    assert out["logps"].item() == pytest.approx(-2e4) and out["seq_kl"].item() == pytest.approx(2e4)
    assert out["entropy"].item() == 0 and out["overlap"].item() == 0 and out["hits"].item() == 0
    (out["logps"] + out["seq_kl"] + out["smooth_logps"]).sum().backward()
    assert torch.isfinite(hidden.grad).all() and torch.isfinite(head.weight.grad).all()


POLICY = [[0.5, 0.25, 0.25], [0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]
REFERENCE = [[0.4, 0.4, 0.2], [0.6, 0.3, 0.1], [0.5, 0.25, 0.25]]


@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-6), (torch.float32, 2e-5)])
def test_worked_values(dtype, slack):
    """Two tokens of a chosen response, labels 0 and 1, and one of a rejected one, label 0.

    Overlap of the first: 0.25 + 0.0625 + 0.0625 = 0.375, log -0.980829. WPO's weight of the pair is exp of the sums of
    the averages of log p - overlap, TDPO's K the sums of KL(reference || policy).
    """
    policy, reference = torch.tensor(POLICY, dtype=dtype), torch.tensor(REFERENCE, dtype=dtype)
    names = {"logps", "overlap", "max_logps", "entropy", "smooth_logps", "z_squares", "hits", "seq_kl"}
    out = logit_statistics(policy.log(), torch.tensor([0, 1, 0]), names, other_logits=reference.log())
    expected = {
        "logps": [math.log(0.5), math.log(0.2), math.log(0.6)],
        "overlap": [-0.9808292530, -0.6161861394, -0.7765287895],
        "max_logps": [math.log(0.5), math.log(0.7), math.log(0.6)],
        "entropy": [1.5 * math.log(2), 0.8018185525, 0.8979457249],
        "smooth_logps": [math.log(0.5 * 0.25 * 0.25) / 3, math.log(0.014) / 3, math.log(0.018) / 3],
        "z_squares": [0.0, 0.0, 0.0],
        "hits": [1.0, 0.0, 1.0],
    }
    for name, values in expected.items():
        assert out[name].tolist() == pytest.approx(values, abs=slack), name
    chosen, rejected = out["seq_kl"][:2].sum().item(), out["seq_kl"][2].item()
    assert chosen == pytest.approx(0.0832644454, abs=slack) and rejected == pytest.approx(0.0923315154, abs=slack)
    gaps = out["logps"] - out["overlap"]
    assert gaps[:2].mean().item() == pytest.approx(-0.3527848503, abs=slack)
    assert gaps[2].item() == pytest.approx(0.2657031657, abs=slack)
    assert math.exp(gaps[:2].mean() + gaps[2]) == pytest.approx(0.9166022203, abs=slack)
    ratios = policy.log() - reference.log()
    assert (ratios[0, 0] + ratios[1, 1]).item() == pytest.approx(-0.1823215568, abs=slack)
    assert ratios[2, 0].item() == pytest.approx(0.1823215568, abs=slack)
