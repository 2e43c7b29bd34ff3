"""What is checked before it is trusted: kernels of the head, and gradients of trees."""

import sys

import pytest
import torch

from prefine.models import guard, layouts
from prefine.models.attention import NAME
from prefine.models.guard import fastest_tiles, wrong_tiles
from prefine.models.kernels import CpuFlash
from prefine.models.layouts import choose_layout
from prefine.models.policy import Policy
from prefine.models.tiles import PlainTiles
from prefine.models.trees import pack
from tests.models.test_trees import items, tiny


class Tampered(PlainTiles):
    """Right but for one thing."""

    def __init__(self, sums=1.0, slopes=1.0, error=None):
        self.sums, self.slopes, self.error = sums, slopes, error

    def add(self, product, start, labels, table, shape):
        if self.error:
            raise self.error
        super().add(product * self.sums, start, labels, table, shape)

    def slope(self, *given):
        return super().slope(*given) * self.slopes


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def rows(request):
    hidden, head, labels = Policy(tiny("llama")).head_inputs(pack(items(), mode="cascade"))
    return hidden.to(request.param), head, labels


@pytest.mark.parametrize(
    ("tiles", "said"),
    [
        (PlainTiles(), None),
        (Tampered(sums=1.01), "Triton's logps are not those of plain PyTorch"),
        (Tampered(slopes=1.1), "Triton's gradient are not those of plain PyTorch"),
        (Tampered(slopes=float("nan")), "Triton's gradient are not those of plain PyTorch"),
        (Tampered(error=OSError("no compiler")), "Triton's kernels do not run here (OSError)"),
    ],
    ids=["right", "sums", "slopes", "nan", "error"],
)
def test_kernels_of_the_head(rows, tiles, said):
    assert wrong_tiles(tiles, *rows) == said


def test_a_cpu_computes_in_plain_pytorch(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "prefine.models.tiles_triton", None)
    tiles, said = fastest_tiles(*rows)
    assert type(tiles) is PlainTiles and said is None


def test_what_was_found_is_used_and_what_was_wrong_is_said(monkeypatch):
    policy, mine = Policy(tiny("llama")), PlainTiles()
    monkeypatch.setattr(layouts, "fastest_tiles", lambda *given: (mine, "Triton is not installed"))
    layout = choose_layout(policy, items())
    assert layout.mode == "cascade" and layout.reason.endswith("plain PyTorch, since Triton is not installed")
    assert policy.tiles is mine and policy.head_inputs(pack(items(), mode="cascade"))[1].tiles is mine
    assert policy.causal.config._attn_implementation != NAME


def test_gradients_of_trees_that_are_wrong_are_found_on_request(monkeypatch):
    """Values alone do not show that a kernel's backward pass leaves out what crosses from prompt to response."""

    def differentiate(self, *given):
        return (CpuFlash.differentiate_span(self, *given)[0], torch.zeros_like(given[2]), torch.zeros_like(given[3]))

    class Broken(CpuFlash):
        differentiate_span = differentiate

    monkeypatch.setattr("prefine.models.attention.kernel_for", lambda q: Broken())
    policy = Policy(tiny("llama"))
    assert choose_layout(policy, items()).mode == "cascade"
    layout = choose_layout(policy, items(), gradients=True)
    assert layout.mode == "dense" and "change this model's gradients" in layout.reason
    assert all(p.grad is None for p in policy.parameters())


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gemma3_text", "phi3"])
def test_right_gradients_pass(kind, bf16):
    from prefine.models.masters import Masters

    model = tiny(kind)
    Masters(model, bf16=bf16)
    assert choose_layout(Policy(model, bf16=bf16), items(), gradients=True).mode == "cascade"


def test_frozen_models_have_no_gradients_to_compare():
    policy = Policy(tiny("llama")).requires_grad_(False)
    assert choose_layout(policy, items(), gradients=True).mode == "cascade"
    assert guard.MATRICES > 0
