"""The chunked head against a plain log-softmax over all logits."""

import pytest
import torch

from prefine.models import head as head_module
from prefine.models.head import Head, find_head, token_logps


def plain(hidden, head, labels):
    z = hidden @ head.weight.t() + (head.bias if head.bias is not None else 0.0)
    z = z * head.scale
    if head.softcap is not None:
        z = head.softcap * torch.tanh(z / head.softcap)
    return torch.log_softmax(z, -1).gather(1, labels[:, None]).squeeze(1)


@pytest.mark.parametrize("kept_rows", [0, 20, 1000])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (2.0, 3.0)])
def test_values_and_gradients_equal_the_full_computation(monkeypatch, bias, scale, softcap, frozen, kept_rows):
    monkeypatch.setattr(head_module, "KEPT_BYTES", kept_rows * 31 * 8)
    monkeypatch.setattr(head_module, "LOGITS_IN_CHUNK", 0)  # 16 rows a chunk: 50 rows take several
    torch.manual_seed(0)
    labels = torch.randint(0, 31, (50,))
    coefficients = torch.randn(50, dtype=torch.float64)
    grads = []
    for compute in (plain, token_logps):
        torch.manual_seed(1)
        hidden = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(31, 8, dtype=torch.float64, requires_grad=not frozen)
        b = torch.randn(31, dtype=torch.float64, requires_grad=not frozen) if bias else None
        logps = compute(hidden, Head(weight, b, scale, softcap), labels)
        (logps * coefficients).sum().backward()
        grads.append([logps.detach(), *(x.grad for x in (hidden, weight, b) if x is not None and x.requires_grad)])
    for got, want in zip(grads[1], grads[0], strict=True):
        assert torch.allclose(got, want, rtol=1e-9, atol=1e-9)


def test_far_apart_logits_stay_finite():
    hidden = torch.tensor([[1.0, 0.0]], requires_grad=True)
    weight = torch.tensor([[1e4, 0.0], [-1e4, 0.0]], requires_grad=True)
    logps = token_logps(hidden, Head(weight), torch.tensor([1]))
    assert logps.item() == pytest.approx(-2e4)
    logps.sum().backward()
    assert torch.isfinite(hidden.grad).all() and torch.isfinite(weight.grad).all()


def test_a_frozen_head_gets_no_gradient():
    hidden = torch.randn(4, 3, requires_grad=True)
    weight = torch.randn(5, 3)
    token_logps(hidden, Head(weight), torch.tensor([0, 1, 2, 3])).sum().backward()
    assert hidden.grad is not None and weight.grad is None


def test_find_head_reads_the_models_settings(tokenizer):
    from tests.conftest import make_model

    model = make_model(tokenizer)
    found = find_head(model)
    assert found is not None and found.weight is model.lm_head.weight and found.scale == 1.0 and found.softcap is None
