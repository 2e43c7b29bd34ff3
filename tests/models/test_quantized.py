"""Adapters over weights in 4 bits, on a CPU."""

import pytest
import torch

from prefine.errors import PrefineError
from prefine.models.layouts import choose_layout
from prefine.models.load import load_model
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import pack
from prefine.recipe import Model
from tests.models.test_trees import items
from tests.train.test_stage import metrics, pairs_file, recipe, train

__all__ = ["pairs_file"]


@pytest.fixture(autouse=True)
def bitsandbytes():
    pytest.importorskip("bitsandbytes", reason="comes with the extra 'qlora'")


@pytest.fixture
def policy(tiny_model_dir):
    torch.manual_seed(0)
    policy = Policy(load_model(Model(path=str(tiny_model_dir), quantization="nf4", lora_r=4), train=True))
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return policy


def gradients(policy):
    policy.train()
    policy.zero_grad()
    policy.logps(pack(items(seed=3), mode="cascade")).sum().backward()
    return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


def test_the_linear_layers_are_small_and_only_the_adapter_trains(policy):
    kinds = {type(m).__name__ for m in policy.modules()}
    assert "Linear4bit" in kinds
    assert all("lora_" in n for n in Masters(policy.model).named)
    assert choose_layout(policy, items(seed=3)).mode == "cascade"


def test_training_after_an_evaluation_has_the_same_gradient(policy):
    before = gradients(policy)
    policy.eval()
    with torch.no_grad():
        policy.logps(pack(items(seed=4), mode="cascade"))
        policy.causal(input_ids=torch.tensor([[1, 2, 3, 4]]))
    after = gradients(policy)
    assert before and all(torch.equal(g, after[n]) for n, g in before.items())


def test_gradients_are_those_of_the_dequantized_weights(policy):
    from bitsandbytes.functional import dequantize_4bit

    want = gradients(policy)
    for module in policy.modules():
        base = getattr(module, "base_layer", None)
        if type(base).__name__ == "Linear4bit":
            full = torch.nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
            full.weight.data = dequantize_4bit(base.weight.data, base.weight.quant_state).float()
            full.requires_grad_(False)
            module.base_layer = full
    got = gradients(policy)
    for name, grad in want.items():
        assert (got[name] - grad).norm() <= 1e-5 * grad.norm(), name


def test_dpo_on_four_bits(tmp_path, tiny_model_dir, pairs_file):
    model = {"lora_r": 4, "quantization": "nf4"}
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file, model=model))
    logged = [m for m in metrics(done) if "loss" in m]
    assert logged[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and logged[-1]["rewards/margins"] > 0.5
    assert (done.path / "model" / "adapter_config.json").exists()


def test_without_an_adapter_there_is_nothing_to_train(tmp_path, tiny_model_dir, pairs_file):
    with pytest.raises(PrefineError, match=r"nothing to train|cannot be trained"):
        train(recipe(tmp_path, tiny_model_dir, pairs_file, model={"quantization": "nf4"}))
