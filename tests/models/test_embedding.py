"""Gradients of embedding and head that are added in place, against autograd's."""

import pytest
import torch
from torch import nn

from prefine.models.embedding import gather_in_place
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import pack
from tests.models.test_trees import items, tiny


class Lookup(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.table = nn.Embedding(10, 4, **settings)

    def get_input_embeddings(self):
        return self.table


@pytest.mark.parametrize("settings", [{}, {"padding_idx": 3}], ids=["plain", "padding"])
def test_the_gradient_of_a_lookup_is_added_to_what_is_there(settings):
    torch.manual_seed(0)
    model = Lookup(**settings)
    ids = torch.tensor([[3, 1, 1, 9], [0, 3, 1, 5]])
    weights = torch.randn(2, 4, 4)
    (model.table(ids) * weights).sum().backward()
    want, model.table.weight.grad = model.table.weight.grad, None
    assert want.norm() > 0
    total = torch.ones(10, 4)
    gather_in_place(model, lambda weight: total)
    found = model.table(ids)
    assert torch.equal(found, nn.functional.embedding(ids, model.table.weight))
    (found * weights).sum().backward()
    assert model.table.weight.grad is None
    assert torch.allclose(total, want + 1)
    with torch.no_grad():
        assert not model.table(ids).requires_grad


@pytest.mark.parametrize("settings", [{"sparse": True}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}], ids=str)
def test_an_embedding_with_rules_of_its_own_is_left_alone(settings):
    model = Lookup(**settings)
    assert gather_in_place(model, lambda weight: torch.zeros(10, 4)) is None
    assert not model.table._forward_hooks


def sums(policy, masters, batches):
    for batch in batches:
        policy.logps(pack(batch, mode="cascade")).sum().backward()
    found = {name: master.grad.clone() for name, master in masters.named.items()}
    for master in masters.named.values():
        master.grad = None
    return found


@pytest.mark.parametrize("tied", [False, True], ids=["apart", "tied"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma"])
def test_a_model_has_the_same_gradients_either_way(kind, bf16, tied):
    model = tiny(kind, tie_word_embeddings=tied)
    masters = Masters(model, bf16=bf16)
    policy = Policy(model, bf16=bf16)
    batches = [items()[:2], items()[2:]]
    want = sums(policy, masters, batches)
    policy.gather_in_place(masters.room)
    got = sums(policy, masters, batches)
    assert got.keys() == want.keys()
    for name, grad in want.items():
        assert got[name].dtype == torch.float32
        assert (got[name] - grad).norm() <= (1e-2 if bf16 else 1e-6) * grad.norm(), name
    policy.gather_in_place(None)
    again = sums(policy, masters, batches)
    assert all(torch.equal(again[name], grad) for name, grad in want.items())


def test_nothing_of_the_vocabularys_size_is_made():
    """Neither by autograd nor on the way: only `room` is asked, once by the head and once by the embedding."""
    model = tiny("llama", tie_word_embeddings=False)
    masters, policy = Masters(model), Policy(model)
    asked = []

    def room(weight):
        asked.append(weight)
        return masters.room(weight)

    given = []
    for weight in (model.lm_head.weight, model.model.embed_tokens.weight):
        weight.register_hook(given.append)
    policy.gather_in_place(room)
    policy.logps(pack(items(), mode="cascade")).sum().backward()
    assert [x is y for x, y in zip(asked, [model.lm_head.weight, model.model.embed_tokens.weight], strict=True)]
    assert not any(grad is not None for grad in given)
    assert all(weight.grad.norm() > 0 for weight in asked)
