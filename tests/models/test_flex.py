"""FlexAttention among trees: masks and scores as plain functions, and the forward pass on a CPU, against dense ones.

A run on a GPU still has to show the backward pass; `trial` makes it before training, here with the dense definition.
"""

import pytest
import torch
from transformers import AutoConfig

from prefine.models import attention, flex, layouts
from prefine.models.attention import Segments, among
from prefine.models.flex import BLOCK, Trees, Wish, attend, block_kinds, dense, trial
from prefine.models.layouts import choose_layout
from prefine.models.policy import Policy, released
from prefine.models.trees import longest_path, pack
from tests.models.test_attention import DEEP, DEEPER, FORESTS, masked
from tests.models.test_attention import visible as visible_by_parents
from tests.models.test_families import build, error_of
from tests.models.test_trees import items, tiny

LARGE = Segments(
    [(0, 140), (140, 200), (200, 270), (270, 400), (400, 700), (700, 705), (705, 900)], [-1, 0, 1, 1, 0, -1, 5]
)
EAGER = pytest.mark.filterwarnings("ignore:flex_attention called without")


def pairs(forest, window):
    """(T, T) bool by FlexAttention's function."""
    at = torch.arange(forest.spans[-1][1])
    return flex.visible(Trees.of(forest, torch.device("cpu")), window)(at, at, at[:, None], at[None, :])


def windowed(forest, window):
    """(T, T) bool from the parents and each token's place on its path alone."""
    depth = []
    for (start, end), parent in zip(forest.spans, forest.parents, strict=True):
        above = 0 if parent < 0 else depth[forest.spans[parent][1] - 1] + 1
        depth += range(above, above + end - start)
    depth = torch.tensor(depth)
    return visible_by_parents(forest) & (depth[:, None] - depth[None, :] < window)


@FORESTS
def test_who_sees_whom(forest):
    assert torch.equal(pairs(forest, None), visible_by_parents(forest))
    for window in (1, 3, 6):
        seen = pairs(forest, window)
        assert torch.equal(seen, windowed(forest, window))
        assert seen.sum(1).max() == window and seen.diagonal().all()
    assert torch.equal(pairs(forest, 1000), visible_by_parents(forest))


def test_places_on_a_path():
    trees = Trees.of(DEEPER, torch.device("cpu"))
    assert trees.depth.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10, 3, 4, 5]
    assert trees.reach.tolist() == [15] * 3 + [12] * 2 + [12] * 4 + [10] + [12] * 2 + [15] * 3


@pytest.mark.parametrize("window", [None, 1, 50, 200, 500])
@pytest.mark.parametrize("forest", [LARGE, DEEP], ids=["large", "small"])
def test_blocks_hold_what_they_say(forest, window):
    some, every = block_kinds(Trees.of(forest, torch.device("cpu")), window)
    seen = windowed(forest, window or 10_000)
    count = -(-len(seen) // BLOCK)
    assert some.shape == every.shape == (count, count) and not (some & every).any()
    for i in range(count):
        for j in range(count):
            block = seen[i * BLOCK : (i + 1) * BLOCK, j * BLOCK : (j + 1) * BLOCK]
            assert block.any() <= (some[i, j] | every[i, j])
            assert block.all() or not every[i, j]
    if forest is LARGE and window is None:
        assert every.any() and not (some | every).tril().all()


def test_the_dense_definition_without_wishes_is_a_masked_softmax():
    q, k, v = (torch.randn(1, heads, 27, 8) for heads in (4, 2, 2))
    want = masked(q, k, v, visible_by_parents(DEEP), 0.3)
    assert torch.allclose(dense(q, k, v, DEEP, 0.3, Wish()), want, atol=1e-6)


def test_a_softcap_and_a_sink_by_hand():
    """Logits 0 and 2 capped at 1, beside a sink of 0.5."""
    q, k, v = torch.ones(1, 1, 2, 1), torch.tensor([0.0, 2.0])[None, None, :, None], torch.eye(2)[None, None]
    out = dense(q, k, v, Segments([(0, 2)], [-1]), 1.0, Wish(None, 1.0, torch.tensor([0.5])))
    z = torch.tensor([0.0, 2.0]).tanh().exp()
    assert torch.allclose(out[0, 0, 1], z / (z.sum() + torch.tensor(0.5).exp()))
    assert out[0, 0, 0, 0] == pytest.approx(1 / (1 + 0.5**0.5 * 2.71828182846**0.5 * 2**0.5))


@EAGER
@torch.no_grad()
@pytest.mark.parametrize(
    "wish",
    [Wish(), Wish(softcap=2.0), Wish(window=30), Wish(sinks=torch.tensor([1.0, -2.0, 0.0, 3.0])),
     Wish(200, 1.0, torch.tensor([1.0, -2.0, 0.0, 3.0]))],
    ids=["plain", "softcap", "window", "sinks", "all"],
)  # fmt: skip
@pytest.mark.parametrize("forest", [LARGE, DEEP], ids=["large", "small"])
def test_the_forward_pass_equals_the_dense_definition(forest, wish):
    torch.manual_seed(0)
    t = forest.spans[-1][1]
    q, k, v = torch.randn(1, 4, t, 16), torch.randn(1, 2, t, 16), torch.randn(1, 2, t, 16)
    want = dense(q, k, v, forest, 0.4, wish)
    assert (attend(q, k, v, forest, 0.4, wish) - want).norm() <= 1e-6 * want.norm()


@EAGER
@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma2", {"sliding_window": 6}),
        ("gpt_oss", {"sliding_window": 6}),
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 8}),
        ("gemma3_text", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}),
    ],
)
def test_models_that_wish_have_their_own_numbers(kind, changes, monkeypatch):
    """Soft-caps, sinks, and windows that most paths leave, among trees, beside the model's own forward passes."""
    monkeypatch.setattr(flex, "trouble", lambda *given: None)
    policy = Policy(build(kind, **changes))
    assert max(map(longest_path, items())) > changes["sliding_window"]
    layout = choose_layout(policy, items())
    assert layout.mode == "cascade" and "windows of" in layout.reason
    assert error_of(policy, "cascade", items()) < 1e-5


def test_a_model_that_does_not_tell_its_window_gets_rows_of_its_own(monkeypatch):
    monkeypatch.setattr(flex, "trouble", lambda *given: None)
    model = build("mistral", sliding_window=8)
    real = attention.tree_attention
    monkeypatch.setattr(
        attention, "tree_attention", lambda *a, sliding_window=None, **more: real(*a, **more), raising=True
    )
    layout = choose_layout(Policy(model), items())
    assert layout.mode == "separate" and "window of 8" in layout.reason


def test_how_far_each_layer_sees():
    """What a layer has to ask for. One that sees chunks asks for no window, so that its model gets rows of its own."""
    kinds = {"layer_types": ["chunked_attention", "full_attention"], "num_hidden_layers": 2}
    assert layouts._windows(AutoConfig.for_model("llama4_text", attention_chunk_size=8, **kinds)) == [8, None]
    kinds["layer_types"][0] = "sliding_attention"
    assert layouts._windows(AutoConfig.for_model("gemma3_text", sliding_window=6, **kinds)) == [6, None]
    assert layouts._windows(AutoConfig.for_model("llama", num_hidden_layers=3)) == [None] * 3
    assert layouts._windows(AutoConfig.for_model("mistral", sliding_window=5, num_hidden_layers=3)) == [5] * 3


def test_heads_of_each_width_are_tried(monkeypatch):
    """Layers of several widths: one that FlexAttention gets wrong is enough."""
    tried = set()
    monkeypatch.setattr(flex, "trouble", lambda kind, dtype, width: tried.add(width))
    policy = Policy(build("gemma4_text", sliding_window=8))
    assert choose_layout(policy, items()).mode == "cascade" and tried == {8, 512}
    assert error_of(policy, "cascade", items()) < 1e-5
    monkeypatch.setattr(flex, "trouble", lambda kind, dtype, width: "wrong" if width == 512 else None)
    assert choose_layout(policy, items()).mode == "separate"


def test_a_cpu_does_not_take_it():
    assert "no backward pass on cpu" in flex.trouble("cpu", torch.float32, 16)
    model = tiny("gemma2", sliding_window=64)
    trees = pack(items(), mode="cascade")
    with pytest.raises(attention.Unhandled, match="softcap"), among(model, trees.segments, trees.longest):
        model(trees.ids, position_ids=trees.positions, use_cache=False)
    released(model)


@EAGER
def test_the_trial_finds_what_is_wrong(monkeypatch):
    with torch.no_grad():
        assert trial("cpu", torch.float32, 16, backward=False) < 1e-5
    monkeypatch.setattr(flex, "attend", dense)
    assert trial("cpu", torch.float32, 16) < 1e-6
    away = {}
    for name, changed in {
        "window": lambda w: Wish(41, w.softcap, w.sinks),
        "softcap": lambda w: Wish(w.window, 2.1, w.sinks),
        "sinks": lambda w: Wish(w.window, w.softcap, w.sinks.detach() * 1.1),
    }.items():
        monkeypatch.setattr(flex, "attend", lambda q, k, v, s, x, wish, f=changed: dense(q, k, v, s, x, f(wish)))
        away[name] = trial("cpu", torch.float32, 16, backward=name != "sinks")
    assert all(value > 1e-3 for value in away.values()), away


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_forward_and_backward_on_a_gpu(dtype):
    assert flex.trouble("cuda", dtype, 64) is None
