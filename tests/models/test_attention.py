"""Attention among segments of trees of any depth against a dense mask, and when the model's own is given back."""

from types import SimpleNamespace

import pytest
import torch

from prefine.models import attention
from prefine.models.attention import NAME, Segments, Unhandled, _Trees, among, released, tree_attention
from prefine.models.kernels import CpuFlash, Plain, Varlen
from prefine.models.policy import Policy
from prefine.models.trees import pack
from tests.models.test_kernels import LoopedOps
from tests.models.test_trees import gradients, items, tiny

SHALLOW = Segments([(0, 5), (5, 8), (8, 9), (9, 13), (13, 20)], [-1, 0, 0, -1, 3])
DEEP = Segments(
    # A prompt, a prefix that two responses share, a response of its own; then a small tree, and a prompt by itself.
    [(0, 4), (4, 7), (7, 9), (9, 14), (14, 16), (16, 19), (19, 24), (24, 27)],
    [-1, 0, 1, 1, 0, -1, 5, -1],
)
DEEPER = Segments([(0, 3), (3, 5), (5, 9), (9, 10), (10, 12), (12, 15)], [-1, 0, 1, 2, 2, 0])
FORESTS = pytest.mark.parametrize("forest", [SHALLOW, DEEP, DEEPER], ids=["shallow", "deep", "deeper"])


def visible(forest):
    """(T, T) bool from the parents alone: oneself, and all of one's ancestors."""
    t = forest.spans[-1][1]
    seen = torch.zeros(t, t, dtype=torch.bool)
    for i, (start, end) in enumerate(forest.spans):
        seen[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
        above = forest.parents[i]
        while above >= 0:
            seen[start:end, slice(*forest.spans[above])] = True
            above = forest.parents[above]
    return seen


def masked(q, k, v, mask, scale):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    logits = (q @ k.transpose(-1, -2) * scale).masked_fill(~mask, float("-inf"))
    return torch.softmax(logits, -1) @ v


def numbers(t, dtype):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(1, heads, t, 8, generator=g, dtype=torch.float64).to(dtype) for heads in (4, 2, 2, 4)]


def tails_of(forest):
    return [(b - 1, b) if p < 0 else (a, b) for (a, b), p in zip(forest.spans, forest.parents, strict=True)]


@FORESTS
@pytest.mark.parametrize("pruned", [False, True], ids=["whole", "tails"])
@pytest.mark.parametrize(
    ("kernel", "dtype", "tolerance"),
    [
        (Plain(), torch.float64, 1e-10),
        (CpuFlash(), torch.float32, 1e-5),
        (Varlen(LoopedOps()), torch.float32, 1e-5),
    ],
    ids=["Plain", "CpuFlash", "Varlen"],
)
def test_trees_equal_a_dense_mask(forest, pruned, kernel, dtype, tolerance):
    *given, grad = numbers(forest.spans[-1][1], dtype)
    mine = [x.clone().requires_grad_() for x in given]
    theirs = [x.double().requires_grad_() for x in given]
    got = _Trees.apply(*mine, forest, 0.4, kernel, pruned)
    want = masked(*theirs, visible(forest), 0.4)
    if pruned:
        rows = torch.cat([torch.arange(*span) for span in tails_of(forest)])
        unread = torch.ones(got.shape[2], dtype=torch.bool).index_fill(0, rows, False)
        assert unread.any() and not got[:, :, unread].any()
        got, want, grad = got[:, :, rows], want[:, :, rows], grad[:, :, rows]
    assert (got.double() - want).norm() <= tolerance * want.norm()
    got.backward(grad)
    want.backward(grad.double())
    for a, b in zip(mine, theirs, strict=True):
        assert a.grad.shape == a.shape
        assert (a.grad.double() - b.grad).norm() <= tolerance * b.grad.norm()


def test_crossings_of_a_small_forest():
    def crossings(forest):
        assert not any(piece.causal for piece in forest.crossings)
        return [(piece.rows, piece.keys) for piece in forest.crossings]

    assert crossings(SHALLOW) == [([(5, 9), (13, 20)], [(0, 5), (9, 13)])]
    assert crossings(DEEP) == [([(4, 16), (19, 24)], [(0, 4), (16, 19)]), ([(7, 14)], [(4, 7)])]
    assert crossings(DEEPER) == [([(3, 15)], [(0, 3)]), ([(5, 12)], [(3, 5)]), ([(9, 12)], [(5, 9)])]
    assert crossings(Segments([(0, 4), (4, 9)], [-1, -1])) == []


@pytest.mark.parametrize(("kind", "tolerance"), [("gpt_neox", 1e-10), ("llama", 1e-6)])
def test_a_model_takes_trees_of_any_depth(kind, tolerance):
    """The last hidden state of each path, and every gradient, equal those of the path by itself. Llama's norms run in
    float32 even in a float64 model."""
    model = tiny(kind).double()
    decoder = getattr(model, model.base_model_prefix)
    ids = items()[3].responses[3] + [t for r in items()[3].responses for t in r]
    ids = torch.tensor([ids[: DEEP.spans[-1][1]]])
    paths, positions = [], torch.zeros_like(ids)
    for i, (start, end) in enumerate(DEEP.spans):
        rows, above = list(range(start, end)), DEEP.parents[i]
        while above >= 0:
            rows = [*range(*DEEP.spans[above]), *rows]
            above = DEEP.parents[above]
        positions[0, start:end] = torch.arange(len(rows) - (end - start), len(rows))
        paths.append(rows)
    weights = torch.linspace(-1, 1, 32, dtype=torch.float64)
    found = []
    for alone in (True, False):
        model.zero_grad()
        if alone:
            last = [decoder(ids[:, rows], use_cache=False).last_hidden_state[0, -1] for rows in paths]
        else:
            with among(model, DEEP, max(map(len, paths))):
                states = decoder(ids, position_ids=positions, use_cache=False).last_hidden_state
            last = [states[0, rows[-1]] for rows in paths]
        last = torch.stack(last)
        ((last * weights).sum(1) * torch.linspace(1, 2, len(paths))).sum().backward()
        found.append((last.detach(), [p.grad.clone() for p in decoder.parameters()]))
    (want, want_grads), (got, got_grads) = found
    assert (got - want).norm() <= tolerance * want.norm()
    for a, b in zip(got_grads, want_grads, strict=True):
        assert (a - b).norm() <= tolerance * b.norm() + 1e-12


def asked(*, heads=4, groups=2, width=8, value_width=8, t=13, rows=1, mask=None, module=None, **more):
    """One call of the attention function, as a layer would make it; trees of 13 rows."""
    q, k, v = torch.randn(rows, heads, t, width), torch.randn(rows, groups, t, width), torch.randn(rows, groups, t, 8)
    v = v[..., :value_width]
    module = module or SimpleNamespace(layer_idx=0, is_causal=True)
    return tree_attention(module, q, k, v, mask, **more)


@pytest.fixture
def in_trees():
    with among(tiny("llama"), Segments([(0, 5), (5, 8), (8, 13)], [-1, 0, 0]), longest=10):
        yield


@pytest.mark.parametrize(
    "harmless",
    [{}, {"sliding_window": 10}, {"sliding_window": None}, {"s_aux": None}, {"use_cache": True}, {"is_causal": True}],
    ids=str,
)
def test_what_trees_do_is_done(in_trees, harmless):
    out, weights = asked(scaling=0.5, **harmless)
    assert out.shape == (1, 13, 4, 8) and weights is None and out.isfinite().all()


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"softcap": 50.0}, "softcap"),
        ({"s_aux": torch.zeros(4)}, "s_aux"),
        ({"position_bias": torch.zeros(1)}, "position_bias"),
        ({"sliding_window": 9}, "window of 9 tokens, shorter than a path of 10"),
        ({"dropout": 0.1}, "dropout"),
        ({"mask": torch.zeros(1, 1, 13, 13)}, "mask"),
        ({"value_width": 4}, "another width"),
        ({"t": 14}, "rows that are not those of the trees"),
        ({"rows": 2}, "rows that are not those of the trees"),
        ({"groups": 3}, "another length"),
        ({"is_causal": False}, "not causal"),
        ({"module": SimpleNamespace(layer_idx=0, is_causal=False)}, "not causal"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_anything_else_is_refused_by_name(in_trees, wish, named):
    with pytest.raises(Unhandled, match=named):
        asked(**wish)


def test_attention_without_trees_is_refused(monkeypatch):
    monkeypatch.setattr(attention, "_active", attention._Active())
    with pytest.raises(Unhandled, match="without trees"):
        asked()


def test_the_scale_defaults_to_that_of_the_width(in_trees):
    torch.manual_seed(3)
    plain = asked()[0]
    torch.manual_seed(3)
    assert torch.equal(plain, asked(scaling=8**-0.5)[0])
    torch.manual_seed(3)
    assert not torch.allclose(plain, asked(scaling=0.1)[0])


def test_the_layers_that_call_are_counted():
    calls = []
    model = tiny("llama", num_hidden_layers=3)
    trees = pack(items(), mode="cascade")
    with torch.no_grad(), among(model, trees.segments, trees.longest, calls=calls):
        model(trees.ids, position_ids=trees.positions, use_cache=False)
    assert calls == [0, 1, 2]


@pytest.mark.parametrize("own", ["sdpa", "eager"])
def test_the_model_gets_its_own_attention_back(own):
    model = tiny("llama")
    model.set_attn_implementation(own)
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        before = model(ids).logits
        trees = pack(items(), mode="cascade")
        with among(model, trees.segments, trees.longest):
            assert model.config._attn_implementation == NAME
            model(trees.ids, position_ids=trees.positions, use_cache=False)
        assert model.config._attn_implementation == own
        assert torch.equal(model(ids).logits, before)


def test_it_gets_it_back_when_the_body_raises():
    model = tiny("llama")
    with pytest.raises(ZeroDivisionError), among(model, SHALLOW, 20):
        raise ZeroDivisionError
    assert model.config._attn_implementation == "sdpa"
    assert model not in attention._held


def test_trees_are_kept_until_they_are_released():
    model = tiny("llama")
    with among(model, SHALLOW, 20, keep=True):
        pass
    assert model.config._attn_implementation == NAME
    # A second time must not take the name for the model's own.
    with among(model, SHALLOW, 20, keep=True):
        pass
    released(model)
    assert model.config._attn_implementation == "sdpa"
    released(model)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_checkpointed_activations_have_the_same_gradients(kind):
    policy = Policy(tiny(kind).double())
    policy.train()
    packed = pack(items(), mode="cascade")
    coefficients = torch.linspace(-1, 1, 11, dtype=torch.float64)
    want, want_grads = gradients(policy, packed, coefficients)
    policy.causal.activation_checkpointing_enable({"use_reentrant": False})
    policy.checkpointed = True
    calls = policy.calls = []
    got, got_grads = gradients(policy, packed, coefficients)
    assert calls == [0, 1]
    assert policy.causal.config._attn_implementation == NAME
    assert torch.allclose(got, want, rtol=1e-12) and got_grads.keys() == want_grads.keys()
    for name, grad in want_grads.items():
        assert (got_grads[name] - grad).norm() <= 1e-9 * grad.norm(), name
    policy.forget_rows()
    assert policy.causal.config._attn_implementation == "sdpa"


def test_checkpointed_activations_are_kept_for_the_backward_pass_alone():
    policy = Policy(tiny("llama"))
    policy.causal.activation_checkpointing_enable({"use_reentrant": False})
    policy.checkpointed = True
    policy.train()
    with torch.no_grad():
        policy.logps(pack(items(), mode="cascade"))
    assert policy.causal.config._attn_implementation == "sdpa"
    policy.eval()
    policy.logps(pack(items(), mode="cascade"))
    assert policy.causal.config._attn_implementation == "sdpa"
