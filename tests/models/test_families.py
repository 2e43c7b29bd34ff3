"""Whatever family a model is of, the layout that is chosen for it gives its own log-probs.

Random models whose weights are large enough for soft-caps, sinks and position biases to show in the numbers, and whose
windows, where they are asked for, are shorter than the paths.
"""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prefine.errors import PrefineError
from prefine.models import layouts
from prefine.models.layouts import choose_layout, plain_logps
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import longest_path, pack
from tests.models import test_trees
from tests.models.test_trees import VOCABULARY, gradients, items

SETTINGS = {
    **test_trees.SETTINGS,
    "vocab_size_per_layer_input": VOCABULARY,
    "init_std": 0.2,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
"""What a family's configuration does not know is left out of it."""

OWN = {
    "apertus": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "deepseek_v3": {
        "num_key_value_heads": 4,
        "head_dim": None,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 12,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
    },
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_chunk_size": 16,
    },
    "gemma2": {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0},
    "gemma4_text": {"layer_types": ["sliding_attention", "full_attention"], "hidden_size_per_layer_input": 8},
    "gptj": {"rotary_dim": 4},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 256},
    "gpt_oss": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "minimax": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"], "shared_expert_intermediate_size": 16},
}

SHARED = [
    "llama",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "mistral",
    "mixtral",
    "gemma",
    "gemma3_text",
    "gemma4_text",
    "phi",
    "phi3",
    "smollm3",
    "olmo2",
    "olmo3",
    "granite",
    "cohere",
    "cohere2",
    "gpt_neox",
    "gpt2",
    "opt",
    "starcoder2",
    "stablelm",
    "glm",
    "glm4",
    "ernie4_5",
    "exaone4",
    "nemotron",
    "seed_oss",
    "arcee",
    "helium",
    "bitnet",
    "apertus",
    "granitemoe",
    "olmoe",
]
"""Trees end to end, without a mask."""

OTHERS = {
    # A soft-cap, sinks, a mask of its own: what attention among trees refuses by name, and a mask does.
    "gemma2": "dense",
    "gpt_oss": "dense",
    "doge": "dense",
    # Each layer calls attention twice.
    "diffllama": "dense",
    # Keys and values of different widths.
    "deepseek_v3": "dense",
    # These never call transformers' attention.
    "falcon": "dense",
    "gptj": "dense",
    "gpt_neo": "dense",
    "xglm": "dense",
    # A bias by the distance in the row, and states that are carried along it.
    "bloom": "separate",
    "mpt": "separate",
    "mamba": "separate",
    "jamba": "separate",
    "qwen3_next": "separate",
    "qwen3_5_text": "separate",
    "falcon_h1": "separate",
    "lfm2": "separate",
    "minimax": "separate",
    "recurrent_gemma": "separate",
}


def build(kind, **changes):
    torch.manual_seed(0)
    settings = {**SETTINGS, **OWN.get(kind, {}), **changes}
    try:
        config = AutoConfig.for_model(kind)
        known = {*config.to_dict(), *config.attribute_map, *OWN.get(kind, {}), *changes}
        config = AutoConfig.for_model(kind, **{k: v for k, v in settings.items() if k in known})
        return AutoModelForCausalLM.from_config(config).eval()
    except Exception as error:
        lines = str(error).splitlines() or [""]
        pytest.skip(f"{kind} cannot be built here: {type(error).__name__}: {lines[0]}")


def error_of(policy, mode, batch):
    """The largest error, relative to the largest log-prob."""
    with torch.no_grad():
        truth = plain_logps(policy, batch)
        got = policy.logps(pack(batch, mode=mode))
    assert truth.std() > 1
    return float((got - truth).abs().max() / truth.abs().max())


@pytest.mark.parametrize("kind", SHARED)
def test_families_that_share_prompts(kind):
    policy = Policy(build(kind))
    layout = choose_layout(policy, items())
    assert layout.mode == "cascade", layout.reason
    assert layout.fused and policy.prunes
    assert error_of(policy, "cascade", items()) < 1e-5


@pytest.mark.parametrize("kind", OTHERS)
def test_families_that_need_another_way(kind):
    policy = Policy(build(kind))
    layout = choose_layout(policy, items())
    assert layout.mode == OTHERS[kind], layout.reason
    assert layout.fused or kind in ("doge", "lfm2"), layout.reason
    assert error_of(policy, layout.mode, items()) < (5e-5 if kind == "recurrent_gemma" else 1e-5)


@pytest.mark.parametrize(
    "kind",
    ["llama", "mixtral", "gemma2", "gpt_oss", "falcon", "mpt", "jamba", "lfm2", "minimax", "recurrent_gemma"],
)
def test_rounding_does_not_hide_a_wrong_layout(kind):
    """In bfloat16 the numbers of a wrong layout may be within rounding of the right ones."""
    model = build(kind)
    Masters(model, bf16=True)
    policy = Policy(model, bf16=True)
    assert choose_layout(policy, items()).mode == OTHERS.get(kind, "cascade")


WINDOWED = {
    "mistral": {},
    "mixtral": {},
    "phi3": {},
    "starcoder2": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": True, "max_window_layers": 1},
    "gemma2": {},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"]},
    "gemma4_text": {},
    "cohere2": {"layer_types": ["sliding_attention", "full_attention"]},
    "olmo3": {"layer_types": ["sliding_attention", "full_attention"]},
    "exaone4": {"layer_types": ["sliding_attention", "full_attention"]},
    "gpt_oss": {},
    "gpt_neo": {"window_size": 8},
    "llama4_text": {
        "attention_chunk_size": 8,
        "layer_types": ["chunked_attention", "full_attention"],
        "intermediate_size_mlp": 48,
        "moe_layers": [],
    },
}


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_window_that_the_longest_item_exceeds(kind):
    """The check sees short items alone, which fit the window; one item of the data does not."""
    changes = WINDOWED[kind]
    if not changes.keys() & {"attention_chunk_size", "window_size"}:
        changes = {**changes, "sliding_window": 8}
    model = build(kind, **changes)
    trees = [*items([(2, (3, 2)), (3, (2, 2, 4))]), *items()]
    assert sorted(map(longest_path, trees))[:2] == [5, 7]
    policy = Policy(model)
    layout = choose_layout(policy, trees)
    assert layout.mode == "separate" and "window of 8" in layout.reason
    assert error_of(policy, "separate", trees) < 1e-5


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mistral", {"sliding_window": 13}),
        ("gemma3_text", {"sliding_window": 13, "layer_types": ["sliding_attention", "full_attention"]}),
        ("qwen2", {"sliding_window": 8, "use_sliding_window": False}),
        ("olmo3", {"sliding_window": 8, "layer_types": ["full_attention", "full_attention"]}),
    ],
)
def test_a_window_that_no_path_exceeds_is_no_hindrance(kind, changes):
    assert max(map(longest_path, items())) == 13
    policy = Policy(build(kind, **changes))
    assert choose_layout(policy, items()).mode == "cascade"
    assert error_of(policy, "cascade", items()) < 1e-5


def test_the_window_of_a_model_inside_another():
    text = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "num_hidden_layers": 2}
    assert layouts._window(AutoConfig.for_model("gemma3", text_config=text)) == 8
    text["layer_types"] = ["full_attention"] * 2
    assert layouts._window(AutoConfig.for_model("gemma3", text_config=text)) is None


LONGROPE = {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}


def shifting(kind, rope, most=12):
    """A policy whose rotary frequencies change when a row of a forward pass has more than `most` tokens."""
    rope = {**rope, "rope_theta": 10000.0, "original_max_position_embeddings": most}
    changes = {"max_position_embeddings": most, "original_max_position_embeddings": most}
    return Policy(build(kind, rope_parameters=rope, rope_scaling=rope, **changes))


@pytest.mark.parametrize(("kind", "rope"), [("phi3", LONGROPE), ("llama", {"rope_type": "dynamic", "factor": 2.0})])
def test_positions_that_change_with_the_longest_text(kind, rope):
    """A long neighbor would change a short text's numbers, in rows of their own too; below the limit none does."""
    policy = shifting(kind, rope)
    short, long = items([(4, (3, 5)), (4, (6, 14))])
    with torch.no_grad():
        alone = policy.logps(pack([short], mode="separate"))
        together = policy.logps(pack([short, long], mode="separate"))[:2]
    assert (alone - together).abs().max() > 1e-3
    if kind == "llama":
        with pytest.raises(PrefineError, match=r"the longest here has 18 tokens.* to 12 at most"):
            choose_layout(policy, [short, long])
    else:
        layout = choose_layout(policy, [short, long])
        assert layout.mode == "separate" and "change beyond 12 tokens" in layout.reason
        assert error_of(policy, "separate", [short, long]) < 1e-5
    assert choose_layout(policy, [short, short]).mode == "cascade" and not policy.alone


def test_rows_that_run_one_by_one_have_the_gradients_of_plain_forwards():
    policy, trees = shifting("phi3", LONGROPE), items([(4, (3, 5)), (4, (6, 14, 9))])
    choose_layout(policy, trees)
    coefficients = torch.linspace(-1, 1, 5)
    want, want_grads = gradients(policy, trees, coefficients, plain=True)
    for fused in (True, False):
        policy.fused = fused
        got, got_grads = gradients(policy, pack(trees, mode="separate"), coefficients)
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()
        for name, grad in want_grads.items():
            assert (got_grads[name] - grad).norm() <= 1e-5 * grad.norm(), name


def test_a_recipe_may_ask_for_separate_rows():
    layout = choose_layout(Policy(build("llama")), items(), wanted="separate")
    assert layout.mode == "separate" and "recipe" in layout.reason


def test_a_model_that_no_layout_fits_is_an_error(monkeypatch):
    policy = Policy(build("llama"))
    monkeypatch.setattr(layouts, "plain_logps", lambda policy, batch: plain_logps(policy, batch) * 1.01)
    with pytest.raises(PrefineError, match="several responses at once"):
        choose_layout(policy, items())


def test_a_head_that_is_not_one_linear_layer():
    model = build("llama")
    model.config.logit_scale = 0.5
    policy = Policy(model)
    layout = choose_layout(policy, items())
    assert layout.mode == "cascade" and not layout.fused and "not one linear layer" in layout.reason
    assert error_of(policy, "cascade", items()) < 1e-5
