"""The chunked head against a plain log-softmax over all logits."""

import math

import pytest
import torch

from prefine.models import head as head_module
from prefine.models.head import WITH_SLOPE, WITHOUT, Head, find_head, row_statistics, token_logps
from prefine.models.token_statistics import logit_statistics


def logits(hidden, head):
    z = hidden @ head.weight.t() + (head.bias if head.bias is not None else 0.0)
    z = z * head.scale
    if head.softcap is not None:
        z = head.softcap * torch.tanh(z / head.softcap)
    return z


def plain(hidden, head, labels):
    return torch.log_softmax(logits(hidden, head), -1).gather(1, labels[:, None]).squeeze(1)


@pytest.fixture(params=[0, 20, 1000], ids="{} rows kept".format)
def small_tiles(request, monkeypatch):
    """Groups of 16 rows and tiles of 9 columns: 50 rows and 31 columns take several, the last ones narrower."""
    monkeypatch.setattr(head_module, "KEPT_BYTES", {"cpu": request.param * 31 * 8})
    monkeypatch.setattr(head_module, "ROWS_IN_TILE", {"cpu": 16})
    monkeypatch.setattr(head_module, "LOGITS_IN_CHUNK", {"cpu": 16 * 9})


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (2.0, 3.0), (60.0, None)])
def test_values_and_gradients_equal_the_full_computation(small_tiles, bias, scale, softcap, frozen):
    """With a scale of 60 most labels have no share of their tile's mass, or their tile none of the whole."""
    torch.manual_seed(0)
    labels = torch.randint(0, 31, (50,))
    coefficients = torch.randn(50, dtype=torch.float64)
    coefficients[::7] = 0.0
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


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (2.0, 3.0)])
def test_all_statistics_by_tiles_equal_their_definitions(small_tiles, scale, softcap, frozen):
    torch.manual_seed(0)
    labels = torch.randint(0, 31, (50,))
    runs = []
    for tiled in (False, True):
        torch.manual_seed(1)
        hidden = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(31, 8, dtype=torch.float64, requires_grad=not frozen)
        head = Head(weight, torch.randn(31, dtype=torch.float64), scale, softcap)
        if tiled:
            found = row_statistics(hidden, head, labels, WITH_SLOPE | WITHOUT)
        else:
            found = logit_statistics(logits(hidden, head), labels, WITH_SLOPE | WITHOUT)
        assert {k for k, v in found.items() if v.requires_grad} == WITH_SLOPE
        sum(((i + 1) * found[name] * torch.linspace(-1, 1, 50)).sum() for i, name in enumerate(WITH_SLOPE)).backward()
        grads = {"by hidden": hidden.grad, **({} if frozen else {"by weight": weight.grad})}
        runs.append({**{k: v.detach() for k, v in found.items()}, **grads})
    want, got = runs
    assert want.keys() == got.keys() and 0 < want["hits"].sum() < 50
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-9)


def test_a_second_backward_pass_finds_what_the_first_found(small_tiles):
    """The products that were kept have been overwritten; they are computed again."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 8, requires_grad=True), torch.randn(31, 8, requires_grad=True)
    total = token_logps(hidden, Head(weight), torch.randint(0, 31, (50,))).sum()
    first = torch.autograd.grad(total, (hidden, weight), retain_graph=True)
    again = torch.autograd.grad(total, (hidden, weight))
    for one, two in zip(first, again, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", [32, 16])
def test_a_label_that_is_all_but_certain_keeps_its_small_gradient(bits):
    """p - 1 is rounded as a whole: rounding p first would leave nothing, or too much, of 1 - p = 3e-4."""
    dtype = {32: torch.float32, 16: torch.bfloat16}[bits]
    hidden = torch.ones(1, 1, dtype=dtype, requires_grad=True)
    weight = torch.tensor([[8.0], [0.0]], dtype=dtype, requires_grad=True)
    token_logps(hidden, Head(weight), torch.tensor([0])).sum().backward()
    missing = 1 / (1 + math.exp(8))
    assert weight.grad.flatten().tolist() == pytest.approx([missing, -missing], rel=2**-8)
    assert hidden.grad.item() == pytest.approx(8 * missing, rel=2**-7)


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
