"""The last layer on the rows that are read: the same numbers, fewer rows, and no trace in the model."""

import copy

import pytest
import torch

from prefine.models.layouts import plain_logps
from prefine.models.policy import Policy
from prefine.models.prune import LastLayer, last_layer
from prefine.models.trees import pack
from tests.models.test_trees import gradients, items, tiny

EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
KINDS = ["llama", "gpt_neox", "qwen2", "phi3", "mixtral", "qwen3_moe"]


def build(kind):
    if kind not in ("mixtral", "qwen3_moe"):
        return tiny(kind)
    model = tiny(kind, **EXPERTS)
    # The grouped products that are the default take no float64.
    model.set_experts_implementation("eager")
    return model


def counted(module):
    """Rows that each forward pass of a module takes."""
    rows = []
    module.register_forward_hook(lambda module, args, output: rows.append(args[0].shape[1]))
    return rows


def mlp_of(layer):
    """A linear layer inside the per-token part, where no hook of ours restores the rows."""
    mlp = layer.mlp
    for name in ("gate_proj", "gate_up_proj", "dense_h_to_4h"):
        if hasattr(mlp, name):
            return getattr(mlp, name)
    raise AssertionError(type(mlp))


def layers_of(policy):
    decoder = getattr(policy.causal, policy.causal.base_model_prefix)
    return decoder.layers


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_changes_neither_values_nor_gradients(kind):
    policy = Policy(build(kind).double())
    packed = pack(items(), mode="cascade")
    coefficients = torch.linspace(-1, 1, 11, dtype=torch.float64)
    policy.prunes = False
    want, want_grads = gradients(policy, packed, coefficients)
    policy.prunes = True
    got, got_grads = gradients(policy, packed, coefficients)
    assert torch.allclose(got, want, rtol=1e-9, atol=0)
    assert got_grads.keys() == want_grads.keys()
    for name, grad in want_grads.items():
        assert (got_grads[name] - grad).norm() <= 1e-9 * grad.norm() + 1e-12, name
    assert torch.allclose(want, plain_logps(policy, items()), rtol=1e-7, atol=0)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "qwen2", "phi3"])
def test_rows_that_nobody_reads_are_skipped(kind):
    policy = Policy(build(kind))
    first, last = (counted(mlp_of(layer)) for layer in layers_of(policy))
    packed = pack(items(), mode="cascade")
    prompts = sum(len(i.prompt_ids) for i in items())
    # Of each prompt the last row predicts; of each response all rows but the last.
    read = packed.tokens - prompts + len(items()) - packed.num_responses
    assert packed.tokens == 66 and read == 36
    policy.logps(packed)
    assert (first, last) == ([66], [read])
    policy.prunes = False
    policy.logps(packed)
    assert (first, last) == ([66, 66], [read, 66])


def test_scored_prompts_need_every_row():
    policy = Policy(build("llama"))
    rows = counted(mlp_of(layers_of(policy)[-1]))
    packed = pack(items(), mode="cascade", prompts=True)
    found = policy(packed)
    assert rows == [packed.tokens]
    (item,) = items()[:1]
    ids = torch.tensor([item.prompt_ids])
    logps = torch.log_softmax(policy.causal(ids).logits[0, :-1].double(), -1)
    assert abs(found["prompt_logps"][0] - logps.gather(1, ids[0, 1:, None]).sum()) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_weights_stay_as_they_are(kind):
    model = build(kind)
    names = [n for n, _ in model.named_parameters()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    policy = Policy(model)
    policy.logps(pack(items(), mode="cascade")).sum().backward()
    assert [n for n, _ in model.named_parameters()] == names
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], v) for k, v in before.items())
    assert {n for n, _ in policy.named_parameters()} == {f"model.{n}" for n in names}


def test_the_model_by_itself_runs_on_all_rows_afterwards():
    """A single sequence has the shape that trees have; it must not be taken for them."""
    model = build("llama")
    policy = Policy(model)
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    before = model(ids).logits
    policy.logps(pack(items(), mode="cascade"))
    assert torch.equal(model(ids).logits, before)
    alone = items([(4, (6,))])
    want = plain_logps(policy, alone)
    for mode in ("separate", "dense"):
        policy.logps(pack(items(), mode="cascade"))
        assert torch.allclose(policy.logps(pack(alone, mode=mode)), want, rtol=1e-5)


def test_two_policies_over_one_model():
    model = build("llama").double()
    one, two = Policy(model), Policy(model)
    rows = counted(mlp_of(layers_of(one)[-1]))
    some, others = items()[:2], items()[2:]
    for policy, batch in ((two, some), (one, others), (two, others), (one, some), (two, some)):
        got = policy.logps(pack(batch, mode="cascade"))
        assert torch.allclose(got, plain_logps(policy, batch), rtol=1e-7, atol=0)
    assert min(rows) < 20
    one.prunes = False
    two.logps(pack(others, mode="cascade"))
    assert torch.allclose(one.logps(pack(some, mode="cascade")), plain_logps(one, some), rtol=1e-7, atol=0)
    mlp = layers_of(one)[-1].mlp
    ours = [h for h in mlp._forward_hooks.values() if isinstance(getattr(h, "__self__", None), LastLayer)]
    assert len(ours) == len(mlp._forward_pre_hooks) == 1


def test_a_copy_of_a_pruned_model_is_independent():
    model = build("llama").double()
    policy = Policy(model)
    some, others = items()[:2], items()[2:]
    want = policy.logps(pack(some, mode="cascade"))
    other = Policy(copy.deepcopy(model))
    assert torch.equal(other.logps(pack(some, mode="cascade")), want)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    changed = policy.logps(pack(others, mode="cascade"))
    assert torch.equal(other.logps(pack(some, mode="cascade")), want)
    assert torch.equal(policy.logps(pack(others, mode="cascade")), changed)
    assert other._last is not policy._last
    # A copy without a policy is a plain model.
    bare = copy.deepcopy(model)
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    assert torch.equal(bare(ids).logits, model(ids).logits)


def test_a_model_without_a_list_of_layers_is_left_alone():
    model = build("llama")
    model.config.num_hidden_layers = 7
    assert last_layer(model) is None
    policy = Policy(model)
    assert torch.allclose(policy.logps(pack(items(), mode="cascade")), plain_logps(policy, items()), rtol=1e-5)


def test_a_part_with_several_outputs_is_an_error_rather_than_wrong():
    policy = Policy(build("llama"))
    mlp = layers_of(policy)[-1].mlp
    with torch.no_grad():
        policy._last.rows = torch.tensor([1])
        policy.causal.config._attn_implementation = "prefine_tree"
        mlp._prefine_length = 3
        with pytest.raises(TypeError, match="more than one"):
            policy._last._spread(mlp, (), (torch.zeros(1), torch.zeros(1)))
