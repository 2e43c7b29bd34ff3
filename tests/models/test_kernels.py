"""Attention kernels against a masked softmax, and against each other.

No GPU is needed: `Varlen` runs on a stand-in for the two operators that it calls, which loops over the sequences. A run
on a GPU still has to show that the true operators take these arguments, that their log-sum-exp is (heads, rows) and in
natural logarithms, that a causal call aligns a sequence's rows with the last of its keys, that the backward pass
accepts an output and a log-sum-exp that other keys have joined, and how exact they are in bfloat16.
"""

import inspect
import itertools

import pytest
import torch

from prefine.models.kernels import CpuFlash, Piece, Plain, Varlen, kernel_for

T, HEADS, WIDTH = 25, 3, 8
SCALE = 0.3
SEGMENTS = [(0, 5), (5, 6), (6, 17), (17, 18), (18, 25)]
TAILS = [(4, 5), (5, 6), (6, 17), (17, 18), (18, 25)]
"""Of the first segment, which is nobody's child, the last row alone is read."""
OWN = Piece(SEGMENTS, SEGMENTS, causal=True)
CROSSINGS = [([(5, 17)], [(0, 5)]), ([(18, 25), (17, 18)], [(6, 17), (0, 5)])]
"""More rows than keys, fewer rows than keys, and a single row."""


class LoopedOps:
    """The operators of `Varlen`, a sequence at a time."""

    def _flash_attention_forward(
        self,
        query,
        key,
        value,
        cum_seq_q,
        cum_seq_k,
        max_q,
        max_k,
        dropout_p,
        is_causal,
        return_debug_mask,
        *,
        scale=None,
    ):
        self.check(query, key, value, cum_seq_q, cum_seq_k, max_q, max_k)
        assert dropout_p == 0.0 and return_debug_mask is False
        out = torch.empty_like(query)
        lse = torch.empty(query.shape[1], query.shape[0], dtype=torch.promote_types(query.dtype, torch.float32))
        for rows, keys in self.sequences(cum_seq_q, cum_seq_k):
            o, n = Plain().attend_span(*map(heads_first, (query[rows], key[keys], value[keys])), is_causal, scale)
            out[rows], lse[:, rows] = o[0].transpose(0, 1), n[0]
        return out, lse, torch.empty(2), torch.empty(0), torch.empty(0)

    def _flash_attention_backward(
        self,
        grad_out,
        query,
        key,
        value,
        out,
        logsumexp,
        cum_seq_q,
        cum_seq_k,
        max_q,
        max_k,
        dropout_p,
        is_causal,
        rng_state,
        unused,
        *,
        scale=None,
    ):
        self.check(query, key, value, cum_seq_q, cum_seq_k, max_q, max_k)
        assert grad_out.shape == out.shape == query.shape and grad_out.is_contiguous() and out.is_contiguous()
        assert logsumexp.shape == (query.shape[1], query.shape[0]) and logsumexp.is_contiguous()
        assert dropout_p == 0.0
        found = [torch.empty_like(x) for x in (query, key, value)]
        for rows, keys in self.sequences(cum_seq_q, cum_seq_k):
            given = map(heads_first, (grad_out[rows], query[rows], key[keys], value[keys], out[rows]))
            parts = Plain().differentiate_span(*given, logsumexp[None, :, rows], is_causal, scale)
            for total, part, place in zip(found, parts, (rows, keys, keys), strict=True):
                total[place] = part[0].transpose(0, 1)
        return tuple(found)

    def check(self, query, key, value, cum_seq_q, cum_seq_k, max_q, max_k):
        for x, ends, longest in ((query, cum_seq_q, max_q), (key, cum_seq_k, max_k), (value, cum_seq_k, max_k)):
            assert x.is_contiguous() and x.dim() == 3
            assert ends.dtype == torch.int32 and ends[0] == 0 and ends[-1] == len(x)
            assert longest == int(ends.diff().max())

    def sequences(self, cum_seq_q, cum_seq_k):
        ends = [c.tolist() for c in (cum_seq_q, cum_seq_k)]
        rows, keys = ([slice(*pair) for pair in itertools.pairwise(e)] for e in ends)
        return list(zip(rows, keys, strict=True))


def heads_first(x):
    return x.transpose(0, 1)[None]


def numbers(dtype, seed=0):
    """q, k, v and the gradient of the output."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(1, HEADS, T, WIDTH, generator=g, dtype=torch.float64).to(dtype) for _ in range(4)]


def used(rows):
    return torch.cat([torch.arange(a, b) for a, b in rows])


def visible(rows, crossings=CROSSINGS):
    """(T, T) bool: who sees whom, from the definition alone."""
    seen = torch.zeros(T, T, dtype=torch.bool)
    for (a, b), (c, d) in zip(rows, SEGMENTS, strict=True):
        for i in range(a, b):
            seen[i, c : d - (b - 1 - i)] = True
    for below, above in crossings:
        for (a, b), (c, d) in zip(below, above, strict=True):
            seen[a:b, c:d] = True
    return seen


def masked_softmax(q, k, v, grad, rows, crossings=CROSSINGS):
    """out, lse, dq, dk and dv by autograd in float64."""
    q, k, v = (x.double().clone().requires_grad_() for x in (q, k, v))
    logits = (q @ k.transpose(-1, -2) * SCALE).masked_fill(~visible(rows, crossings), float("-inf"))
    at = used(rows)
    logits = logits[:, :, at]
    out = torch.softmax(logits, -1) @ v
    out.backward(grad[:, :, at].double())
    return out.detach(), torch.logsumexp(logits, -1).detach(), q.grad, k.grad, v.grad


def computed(kernel, q, k, v, grad, rows, crossings=CROSSINGS):
    """The same by a kernel, on the rows that are used."""
    own, others = Piece(rows, SEGMENTS, causal=True), [Piece(*c) for c in crossings]
    out, lse = kernel.empty(q)
    kernel.forward(own, q, k, v, SCALE, out, lse)
    for piece in others:
        kernel.join(piece, q, k, v, SCALE, out, lse)
    dq, dk, dv = kernel.zeros(q), kernel.zeros(q), kernel.zeros(q)
    for piece in (own, *others):
        kernel.backward(piece, (grad, q, k, v, out, lse), SCALE, (dq, dk, dv))
    at = used(rows)
    assert out.dtype == dq.dtype == q.dtype
    return out[:, :, at], lse[:, :, at], dq, dk, dv


def assert_close(got, want, tolerance):
    for name, a, b in zip(("out", "lse", "dq", "dk", "dv"), got, want, strict=True):
        assert a.shape == b.shape
        error = (a.double() - b.double()).norm() / b.double().norm()
        assert error <= tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize("rows", [SEGMENTS, TAILS], ids=["segments", "tails"])
@pytest.mark.parametrize("crossings", [[], CROSSINGS], ids=["apart", "joined"])
@pytest.mark.parametrize(
    ("kernel", "dtype", "tolerance"),
    [
        (Plain(), torch.float64, 1e-10),
        (CpuFlash(), torch.float64, 1e-10),
        (Varlen(LoopedOps()), torch.float32, 1e-5),
        (Plain(), torch.float32, 1e-5),
        (CpuFlash(), torch.float32, 1e-5),
        (Plain(), torch.bfloat16, 1e-2),
        (CpuFlash(), torch.bfloat16, 1e-2),
        (Varlen(LoopedOps()), torch.bfloat16, 1e-2),
        (Plain(), torch.float16, 2e-3),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Plain | CpuFlash | Varlen) else str(x).removeprefix("torch."),
)
def test_kernels_equal_a_masked_softmax(kernel, dtype, tolerance, rows, crossings):
    given = numbers(dtype)
    want = masked_softmax(*given, rows, crossings)
    assert_close(computed(kernel, *given, rows, crossings), want, tolerance)


@pytest.mark.parametrize("rows", [SEGMENTS, TAILS], ids=["segments", "tails"])
def test_sequences_at_once_equal_span_by_span(rows):
    given = numbers(torch.float32, seed=1)
    assert_close(computed(Varlen(LoopedOps()), *given, rows), computed(CpuFlash(), *given, rows), 1e-5)


def test_long_bfloat16_spans_are_differentiated_as_they_are(monkeypatch):
    monkeypatch.setattr("prefine.models.kernels.SHORT", 4)
    given = numbers(torch.bfloat16)
    assert_close(computed(CpuFlash(), *given, SEGMENTS), masked_softmax(*given, SEGMENTS), 2e-2)


def test_joining_keeps_numbers_of_any_size():
    """Two sets of keys whose log-sum-exp differ by hundreds: the larger one wins without overflow."""
    q, k, v, _ = numbers(torch.float32)
    q, k = q * 30, k * 30
    for kernel in (CpuFlash(), Plain(), Varlen(LoopedOps())):
        out, lse = kernel.empty(q)
        kernel.forward(OWN, q, k, v, SCALE, out, lse)
        kernel.join(Piece([(5, 17)], [(0, 5)]), q, k, v, SCALE, out, lse)
        logits = (q @ k.transpose(-1, -2) * SCALE).double().masked_fill(~visible(SEGMENTS, CROSSINGS[:1]), -torch.inf)
        assert logits[logits.isfinite()].abs().max() > 500
        assert torch.allclose(out.double(), torch.softmax(logits, -1) @ v.double(), atol=1e-3)
        assert torch.allclose(lse.double(), torch.logsumexp(logits, -1), rtol=1e-5)


def test_backward_adds_to_what_is_there():
    given = numbers(torch.float32)
    for kernel in (CpuFlash(), Plain(), Varlen(LoopedOps())):
        q, k, v, grad = given
        out, lse = kernel.empty(q)
        kernel.forward(OWN, q, k, v, SCALE, out, lse)
        once, twice = ([kernel.zeros(q) for _ in range(3)] for _ in range(2))
        kernel.backward(OWN, (grad, q, k, v, out, lse), SCALE, once)
        for _ in range(2):
            kernel.backward(OWN, (grad, q, k, v, out, lse), SCALE, twice)
        for a, b in zip(once, twice, strict=True):
            assert a.norm() > 0.1 and torch.allclose(2 * a, b, rtol=1e-5)


@pytest.mark.parametrize("name", ["_flash_attention_forward", "_flash_attention_backward"])
def test_the_stand_in_has_the_arguments_of_the_true_operator(name):
    """Together with the runs above: our calls fit the operators of this version of PyTorch."""
    schema = getattr(torch.ops.aten, name).default._schema
    mine = [p for p in inspect.signature(getattr(LoopedOps, name)).parameters.values() if p.name != "self"]
    positional = [a for a in schema.arguments if not a.kwarg_only]
    assert [p.name for p in mine if p.kind is p.POSITIONAL_OR_KEYWORD] == [a.name for a in positional]
    optional = {a.name for a in schema.arguments if a.kwarg_only and a.has_default_value()}
    assert {a.name for a in schema.arguments if a.kwarg_only} == optional
    assert {p.name for p in mine if p.kind is p.KEYWORD_ONLY} <= optional
    assert len(schema.returns) == (5 if name.endswith("forward") else 3)


def test_the_kernel_suits_the_queries():
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        assert isinstance(kernel_for(torch.empty(1, 1, 2, 8, dtype=dtype)), CpuFlash)
    assert isinstance(kernel_for(torch.empty(1, 1, 2, 8, dtype=torch.float16)), Plain)


def test_outputs_lie_as_the_model_reads_them():
    """(1, T, H, D) without a copy."""
    out, lse = CpuFlash().empty(numbers(torch.bfloat16)[0])
    assert out.transpose(1, 2).is_contiguous() and lse.dtype == torch.float32
