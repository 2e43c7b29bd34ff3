"""Seven families, with all weights, an adapter, and activations computed again: the numbers of plain forward passes.

Each in the layout that is chosen for it on a CPU; those that soft-cap or slide a window also as trees end to end, by
the definition of what FlexAttention computes on a GPU.
"""

import pytest
import torch

from prefine.models import flex
from prefine.models.layouts import choose_layout
from prefine.models.load import add_lora
from prefine.models.policy import Policy
from prefine.models.trees import longest_path, pack
from prefine.recipe import Model
from prefine.train.stage import checkpoint_activations
from tests.models.test_families import build
from tests.models.test_trees import gradients, items

MIXED = ["sliding_attention", "full_attention"]
FAMILIES = {
    "llama": ("llama", {}, "cascade"),
    "qwen3": ("qwen3", {}, "cascade"),
    "gemma2": ("gemma2", {}, "dense"),
    "gemma2 with a window": ("gemma2", {"sliding_window": 6}, "separate"),
    "gemma3": ("gemma3_text", {"layer_types": MIXED}, "cascade"),
    "gemma3 with a window": ("gemma3_text", {"layer_types": MIXED, "sliding_window": 6}, "separate"),
    "mistral": ("mistral", {}, "cascade"),
    "mistral with a window": ("mistral", {"sliding_window": 6}, "separate"),
    "phi3": ("phi3", {}, "cascade"),
    "gpt_neox": ("gpt_neox", {}, "cascade"),
}
WAYS = {
    "full": (False, False),
    "LoRA": (True, False),
    "checkpointing": (False, True),
    "LoRA and checkpointing": (True, True),
}


def policy_of(kind, changes, adapter, checkpointed):
    model = build(kind, **changes)
    if adapter:
        model = add_lora(model, Model(path="x", lora_r=4))
        torch.manual_seed(1)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.2)
    policy = Policy(model)
    if checkpointed:
        checkpoint_activations(policy)
    return policy


def assert_exact(policy, mode):
    """Log-probs, and the gradient by every tensor, within 1e-5 of those of one forward pass for each response."""
    trees = items()
    assert [len(tree.responses) for tree in trees] == [2, 2, 3, 4]
    policy.train()
    coefficients = torch.linspace(-1, 1, 11)
    want, want_grads = gradients(policy, trees, coefficients, plain=True)
    got, got_grads = gradients(policy, pack(trees, mode=mode), coefficients)
    assert ((got - want).abs() <= 1e-5 * want.abs().clamp(min=1.0)).all()
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert got_grads.keys() == want_grads.keys() == trained
    for name, grad in want_grads.items():
        assert grad.norm() > 0, name
        assert (got_grads[name] - grad).norm() <= 1e-5 * grad.norm(), name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_and_every_gradient(family, way):
    kind, changes, mode = FAMILIES[family]
    policy = policy_of(kind, changes, *WAYS[way])
    if "sliding_window" in changes:
        assert max(map(longest_path, items())) > changes["sliding_window"]
    assert choose_layout(policy, items(), gradients=True).mode == mode
    assert_exact(policy, mode)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", [name for name in FAMILIES if "window" in name or name == "gemma2"])
def test_caps_and_windows_in_trees_end_to_end(family, way, monkeypatch):
    monkeypatch.setattr(flex, "trouble", lambda *given: None)
    monkeypatch.setattr(flex, "attend", flex.dense)
    kind, changes, _ = FAMILIES[family]
    policy = policy_of(kind, changes, *WAYS[way])
    assert choose_layout(policy, items(), gradients=True).mode == "cascade"
    assert_exact(policy, "cascade")
