"""Full-precision weights behind a model that computes in bfloat16."""

import torch

from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import pack
from tests.models.test_trees import items, tiny


def loaded(**changes):
    model = tiny("llama", **changes)
    return model, {name: p.detach().clone() for name, p in model.named_parameters()}


def test_masters_are_the_loaded_weights_and_the_model_computes_in_bfloat16():
    model, before = loaded()
    masters = Masters(model, bf16=True)
    assert masters.named.keys() == before.keys()
    for name, weight in model.named_parameters():
        assert torch.equal(masters.named[name], before[name]) and masters.named[name].dtype == torch.float32
        assert weight.dtype == torch.bfloat16 and torch.equal(weight, before[name].bfloat16())
    assert any(not torch.equal(before[n], p.float()) for n, p in model.named_parameters())
    with torch.no_grad():
        assert model(torch.tensor([[3, 4, 5]])).logits.dtype == torch.bfloat16


def test_gradients_of_micro_batches_add_up_in_float32():
    model, _ = loaded()
    masters = Masters(model, bf16=True)
    policy = Policy(model, bf16=True)
    batches = [[item] for item in items()]
    assert len(batches) == 4
    total = {}
    for batch in batches:
        policy.logps(pack(batch, mode="cascade")).sum().backward()
        assert all(p.grad is None for p in model.parameters())
        for name, master in masters.named.items():
            # Each on its own is a gradient in bfloat16.
            assert torch.equal(master.grad, master.grad.bfloat16().float())
            total[name] = total.get(name, 0) + master.grad
            master.grad = None
    for batch in batches:
        policy.logps(pack(batch, mode="cascade")).sum().backward()
    for name, master in masters.named.items():
        assert master.grad.dtype == torch.float32
        assert torch.equal(master.grad, total[name]), name
    assert any(not torch.equal(m.grad, m.grad.bfloat16().float()) for m in masters.named.values())


def test_a_small_step_stays_in_the_masters_until_it_shows():
    model, before = loaded()
    masters = Masters(model, bf16=True)
    name = "model.layers.0.mlp.up_proj.weight"
    weight = dict(model.named_parameters())[name]
    with torch.no_grad():
        masters.named[name].add_(1e-5)
    masters.publish()
    assert torch.equal(masters.named[name], before[name] + 1e-5)
    assert weight.dtype == torch.bfloat16 and torch.equal(weight, (before[name] + 1e-5).bfloat16())
    with torch.no_grad():
        masters.named[name].add_(1.0)
    assert not torch.equal(weight, masters.named[name].bfloat16())
    masters.publish()
    assert torch.equal(weight, (before[name] + 1e-5 + 1.0).bfloat16())


def test_restore_gives_full_precision_back():
    model, before = loaded()
    masters = Masters(model, bf16=True)
    with torch.no_grad():
        for master in masters.named.values():
            master.mul_(1.0001)
    masters.restore()
    for name, weight in model.state_dict().items():
        if name in before:
            assert weight.dtype == torch.float32 and torch.equal(weight, before[name] * 1.0001)
    with torch.no_grad():
        assert model(torch.tensor([[3, 4, 5]])).logits.dtype == torch.float32


def test_frozen_weights_are_saved_as_they_were_loaded():
    model, before = loaded()
    model.model.embed_tokens.requires_grad_(False)
    masters = Masters(model, bf16=True)
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert "model.embed_tokens.weight" not in masters.named
    masters.restore()
    weight = model.model.embed_tokens.weight
    assert weight.dtype == torch.float32 and torch.equal(weight, before["model.embed_tokens.weight"])


def test_weights_below_an_adapter_are_not_kept_twice():
    """They are not saved with it."""
    from prefine.models.load import add_lora
    from prefine.recipe import Model

    model = add_lora(tiny("llama"), Model(path="x", lora_r=2))
    masters = Masters(model, bf16=True)
    masters.restore()
    kinds = {("lora_" in name, weight.dtype) for name, weight in model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_tied_weights_have_one_master():
    model, _ = loaded(tie_word_embeddings=True)
    masters = Masters(model, bf16=True)
    assert "lm_head.weight" not in masters.named
    assert model.lm_head.weight is model.model.embed_tokens.weight
    Policy(model, bf16=True).logps(pack(items(), mode="cascade")).sum().backward()
    assert masters.named["model.embed_tokens.weight"].grad.norm() > 0
    with torch.no_grad():
        masters.named["model.embed_tokens.weight"].add_(1.0)
    masters.publish()
    assert torch.equal(model.lm_head.weight, masters.named["model.embed_tokens.weight"].bfloat16())


def test_frozen_weights_have_no_master():
    model, before = loaded()
    trained = "model.layers.1.self_attn.q_proj.weight"
    for name, weight in model.named_parameters():
        weight.requires_grad_(name == trained)
    masters = Masters(model, bf16=True)
    assert list(masters.named) == [trained]
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    Policy(model, bf16=True).logps(pack(items(), mode="cascade")).sum().backward()
    assert masters.named[trained].grad.norm() > 0
    masters.publish()
    masters.restore()
    weights = dict(model.named_parameters())
    assert torch.equal(weights[trained], before[trained])
    assert not weights["lm_head.weight"].requires_grad


def test_a_model_in_full_precision_is_its_own_master():
    for dtype in (torch.float32, torch.float64):
        model = tiny("llama").to(dtype)
        masters = Masters(model)
        assert all(masters.named[name] is p for name, p in model.named_parameters())
        Policy(model).logps(pack(items(), mode="cascade")).sum().backward()
        assert all(m.grad is not None and m.grad.dtype == dtype for m in masters.named.values())
        before = model.lm_head.weight.detach().clone()
        masters.publish()
        masters.restore()
        assert torch.equal(model.lm_head.weight, before)


def test_a_model_loaded_in_bfloat16_has_masters_without_being_asked():
    model = tiny("llama").to(torch.bfloat16)
    before = {name: p.detach().float() for name, p in model.named_parameters()}
    masters = Masters(model)
    assert all(m.dtype == torch.float32 and torch.equal(m, before[n]) for n, m in masters.named.items())
    Policy(model).logps(pack(items(), mode="cascade")).sum().backward()
    assert all(m.grad is not None and m.grad.dtype == torch.float32 for m in masters.named.values())
