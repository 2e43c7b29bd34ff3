"""Trees against one plain forward per response: values and every gradient, for several families of models."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prefine.data.chat import Encoded
from prefine.models.layouts import choose_layout, plain_logps
from prefine.models.policy import Policy
from prefine.models.trees import micro_batches, pack, tree_size

VOCABULARY = 64
SETTINGS = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def items(sizes=((7, (3, 5)), (4, (6, 2)), (9, (1, 4, 2)), (3, (5, 5, 2, 8))), seed=0):
    """Random token ids: for each tree the prompt's length and those of its responses."""
    g = torch.Generator().manual_seed(seed)

    def ids(n):
        return torch.randint(3, VOCABULARY, (n,), generator=g).tolist()

    out = []
    for prompt, responses in sizes:
        texts = [ids(n) for n in responses]
        out.append(Encoded(ids(prompt), texts, [[True] * len(t) for t in texts], {}))
    return out


def tiny(kind, **changes):
    torch.manual_seed(0)
    settings = {**SETTINGS, **changes}
    if kind == "gpt_neox":
        settings = {k: v for k, v in settings.items() if k not in ("num_key_value_heads", "head_dim")}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


def gradients(policy, batch, coefficients, plain=False):
    policy.zero_grad()
    logps = plain_logps(policy, batch) if plain else policy.logps(batch)
    (logps * coefficients).sum().backward()
    return logps.detach(), {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["llama", "qwen3", "phi3", "gpt_neox", "mistral", "gemma", "olmo2"])
@pytest.mark.parametrize("mode", ["cascade", "dense", "separate"])
def test_values_and_gradients_equal_separate_forwards(kind, mode):
    policy = Policy(tiny(kind))
    trees = items()
    coefficients = torch.linspace(-1, 1, 11)
    want, want_grads = gradients(policy, trees, coefficients, plain=True)
    got, got_grads = gradients(policy, pack(trees, mode=mode), coefficients)
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-5)
    assert got_grads.keys() == want_grads.keys()
    for name, grad in want_grads.items():
        assert (got_grads[name] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, name


def test_siblings_and_neighbors_do_not_see_each_other():
    policy = Policy(tiny("llama"))
    first, second = items()[2:4]
    together = policy.logps(pack([first, second]))
    changed = Encoded(second.prompt_ids, [[5] * 5, *second.responses[1:]], second.masks, {})
    again = policy.logps(pack([first, changed]))
    assert torch.allclose(together[:3], again[:3], atol=1e-6)
    assert torch.allclose(together[4:], again[4:], atol=1e-6)
    assert abs(together[3] - again[3]) > 1e-3


def test_masked_tokens_are_seen_but_not_scored():
    policy = Policy(tiny("llama"))
    whole = items()[0]
    masked = Encoded(whole.prompt_ids, whole.responses, [[False, True, True], [True, False, True, False, True]], {})
    assert torch.allclose(policy.logps(pack([masked])), plain_logps(policy, [masked]), atol=1e-5)
    assert (policy.logps(pack([masked])) > policy.logps(pack([whole]))).all()


def test_a_hidden_softcap_is_found_by_the_check_and_computed():
    model = tiny("gemma2", sliding_window=64, final_logit_softcapping=2.0, attn_logit_softcapping=1.0)
    policy = Policy(model)
    layout = choose_layout(policy, items())
    truth = plain_logps(policy, items())
    assert torch.allclose(policy.logps(pack(items(), mode=layout.mode)), truth, atol=1e-4)


def test_a_short_window_falls_back_to_one_response_per_row():
    policy = Policy(tiny("mistral", sliding_window=6))
    layout = choose_layout(policy, items())
    assert layout.mode == "separate" and "window" in layout.reason
    assert torch.allclose(policy.logps(pack(items(), mode="separate")), plain_logps(policy, items()), atol=1e-5)


def test_a_model_that_ignores_the_mask_falls_back():
    """BLOOM's attention takes no tree mask in its own form; whatever it does, the chosen layout gives the right
    numbers."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "bloom", vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2
    )
    policy = Policy(AutoModelForCausalLM.from_config(config).eval())
    layout = choose_layout(policy, items())
    assert torch.allclose(policy.logps(pack(items(), mode=layout.mode)), plain_logps(policy, items()), atol=1e-4)


def test_micro_batches_hold_every_item_once_within_the_budget():
    trees = items([(n % 7 + 3, (n % 5 + 1, 4)) for n in range(40)])
    for mode in ("cascade", "dense", "separate"):
        plan = micro_batches(trees, 60, mode=mode)
        assert sorted(i for batch in plan for i in batch) == list(range(40))
        assert len(plan) > 5
        for batch in plan:
            padded = pack([trees[i] for i in batch], mode=mode)
            if mode == "separate":
                assert padded.ids.numel() <= 60
            else:
                assert sum(tree_size(trees[i]) for i in batch) <= 60


def test_an_item_beyond_the_budget_gets_its_own_micro_batch():
    assert micro_batches(items(), 1) == [[3], [2], [0], [1]]
