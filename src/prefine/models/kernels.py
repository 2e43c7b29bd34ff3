"""Attention over spans of one row by stock kernels that give the log-sum-exp: on CPUs, GPUs and in plain PyTorch."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

Spans = list[tuple[int, int]]


class Kernel(Protocol):
    """Attention of rows of q in `rows` to keys in `keys`, span by span; q, k, v: (1, H, T, D), lse: (1, H, T) float32.

    A causal call has rows that are the last ones of their keys. `forward` writes out and lse; `join` adds keys to what
    rows have seen before; `backward` adds to dq, dk and dv, with the out and lse of all that a row has seen.
    """

    def empty(self, q: Tensor) -> tuple[Tensor, Tensor]: ...

    def zeros(self, q: Tensor) -> Tensor: ...

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rows: Spans,
        keys: Spans,
        causal: bool,
        scale: float,
        out: Tensor,
        lse: Tensor,
    ) -> None: ...

    def join(
        self, q: Tensor, k: Tensor, v: Tensor, rows: Spans, keys: Spans, scale: float, out: Tensor, lse: Tensor
    ) -> None: ...

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        rows: Spans,
        keys: Spans,
        causal: bool,
        scale: float,
        dq: Tensor,
        dk: Tensor,
        dv: Tensor,
    ) -> None: ...


class SpanBySpan:
    """One call for each span; the last rows of a causal span see all of its keys, so one row needs no mask."""

    def empty(self, q: Tensor) -> tuple[Tensor, Tensor]:
        # (1, T, H, D) in memory, so that the reshape after attention copies nothing.
        _, h, t, d = q.shape
        out = q.new_empty(1, t, h, d).transpose(1, 2)
        return out, torch.empty(1, h, t, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)

    def zeros(self, q: Tensor) -> Tensor:
        _, h, t, d = q.shape
        return q.new_zeros(1, t, h, d).transpose(1, 2)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rows: Spans,
        keys: Spans,
        causal: bool,
        scale: float,
        out: Tensor,
        lse: Tensor,
    ) -> None:
        for (a, b), (c, d) in zip(rows, keys, strict=True):
            o, n = self.attend(q[:, :, a:b], k[:, :, c:d], v[:, :, c:d], causal and b - a > 1, scale)
            out[:, :, a:b], lse[:, :, a:b] = o, n

    def join(
        self, q: Tensor, k: Tensor, v: Tensor, rows: Spans, keys: Spans, scale: float, out: Tensor, lse: Tensor
    ) -> None:
        for (a, b), (c, d) in zip(rows, keys, strict=True):
            o, n = self.attend(q[:, :, a:b], k[:, :, c:d], v[:, :, c:d], False, scale)
            before = lse[:, :, a:b]
            share = torch.sigmoid(n - before)[..., None]
            seen = out[:, :, a:b]
            seen.copy_(torch.lerp(seen.to(share.dtype), o.to(share.dtype), share))
            lse[:, :, a:b] = torch.logaddexp(n, before)

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        rows: Spans,
        keys: Spans,
        causal: bool,
        scale: float,
        dq: Tensor,
        dk: Tensor,
        dv: Tensor,
    ) -> None:
        for (a, b), (c, d) in zip(rows, keys, strict=True):
            gq, gk, gv = self.differentiate(
                grad[:, :, a:b],
                q[:, :, a:b],
                k[:, :, c:d],
                v[:, :, c:d],
                out[:, :, a:b],
                lse[:, :, a:b],
                causal and b - a > 1,
                scale,
            )
            dq[:, :, a:b] += gq
            dk[:, :, c:d] += gk
            dv[:, :, c:d] += gv

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def differentiate(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError


class Plain(SpanBySpan):
    """The definition, in matrix products; for any device and type, and what the other kernels are tested against."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        logits = self._logits(q, k, causal, scale)
        lse = torch.logsumexp(logits, -1)
        return ((logits - lse[..., None]).exp() @ v.to(logits.dtype)).to(q.dtype), lse

    def differentiate(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        p = (self._logits(q, k, causal, scale) - lse[..., None]).exp()
        g, o, vv, qq, kk = (x.to(p.dtype) for x in (grad, out, v, q, k))
        dp = g @ vv.transpose(-1, -2)
        ds = p * (dp - (g * o).sum(-1, keepdim=True)) * scale
        return tuple(x.to(q.dtype) for x in (ds @ kk, ds.transpose(-1, -2) @ qq, p.transpose(-1, -2) @ g))  # type: ignore[return-value]

    def _logits(self, q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
        exact = torch.promote_types(q.dtype, torch.float32)
        logits = (q.to(exact) @ k.to(exact).transpose(-1, -2)) * scale
        if causal:
            n, m = logits.shape[-2:]
            hidden = torch.ones(n, m, dtype=torch.bool, device=q.device).triu(1 + m - n)
            logits = logits.masked_fill(hidden, float("-inf"))
        return logits


SHORT = 512
"""Blocks up to this many rows are differentiated in float32: the CPU kernel for bfloat16 is slower on them."""


class CpuFlash(SpanBySpan):
    """PyTorch's flash attention for CPUs, forward and backward, without dropout."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)

    def differentiate(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        if q.dtype == torch.bfloat16 and max(q.shape[2], k.shape[2]) <= SHORT:
            grad, q, k, v, out = (x.float() for x in (grad, q, k, v, out))
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, scale=scale
        )


class Varlen:
    """FlashAttention of PyTorch for GPUs: all spans of a call at once, each a sequence of its own length."""

    def __init__(self, ops: Any = None) -> None:
        self.ops = ops or torch.ops.aten

    def empty(self, q: Tensor) -> tuple[Tensor, Tensor]:
        return SpanBySpan.empty(self, q)  # type: ignore[arg-type]

    def zeros(self, q: Tensor) -> Tensor:
        return SpanBySpan.zeros(self, q)  # type: ignore[arg-type]

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rows: Spans,
        keys: Spans,
        causal: bool,
        scale: float,
        out: Tensor,
        lse: Tensor,
    ) -> None:
        at, o, n = self._attend(q, k, v, rows, keys, causal, scale)
        out[0, :, at], lse[0, :, at] = o, n

    def join(
        self, q: Tensor, k: Tensor, v: Tensor, rows: Spans, keys: Spans, scale: float, out: Tensor, lse: Tensor
    ) -> None:
        at, o, n = self._attend(q, k, v, rows, keys, False, scale)
        before, seen = lse[0, :, at], out[0, :, at]
        share = torch.sigmoid(n - before)[..., None]
        out[0, :, at] = torch.lerp(seen.float(), o.float(), share).to(out.dtype)
        lse[0, :, at] = torch.logaddexp(n, before)

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        rows: Spans,
        keys: Spans,
        causal: bool,
        scale: float,
        dq: Tensor,
        dk: Tensor,
        dv: Tensor,
    ) -> None:
        at, to = _index(rows, q.device), _index(keys, q.device)
        empty = torch.empty(0, dtype=torch.int64, device=q.device)
        gq, gk, gv = self.ops._flash_attention_backward(
            _flat(grad, at),
            _flat(q, at),
            _flat(k, to),
            _flat(v, to),
            _flat(out, at),
            lse[0][:, at].contiguous(),
            _ends(rows, q.device),
            _ends(keys, q.device),
            _longest(rows),
            _longest(keys),
            0.0,
            causal,
            empty,
            empty,
            scale=scale,
        )
        for total, found, place in ((dq, gq, at), (dk, gk, to), (dv, gv, to)):
            total[0].index_add_(1, place, found.transpose(0, 1))

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, rows: Spans, keys: Spans, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        at, to = _index(rows, q.device), _index(keys, q.device)
        out, lse, *_ = self.ops._flash_attention_forward(
            _flat(q, at),
            _flat(k, to),
            _flat(v, to),
            _ends(rows, q.device),
            _ends(keys, q.device),
            _longest(rows),
            _longest(keys),
            0.0,
            causal,
            False,
            scale=scale,
        )
        return at, out.transpose(0, 1), lse


def _flat(x: Tensor, at: Tensor) -> Tensor:
    """Rows (n, H, D) of (1, H, T, D), as kernels for sequences of many lengths take them."""
    return x[0].transpose(0, 1)[at].contiguous()


def _index(spans: Spans, device: torch.device) -> Tensor:
    return torch.cat([torch.arange(a, b, device=device) for a, b in spans])


def _ends(spans: Spans, device: torch.device) -> Tensor:
    lengths = torch.tensor([0, *(b - a for a, b in spans)])
    return lengths.cumsum(0).to(device=device, dtype=torch.int32)


def _longest(spans: Spans) -> int:
    return max(b - a for a, b in spans)


def kernel_for(q: Tensor) -> Kernel:
    """The fastest kernel that takes these queries."""
    if q.device.type == "cpu" and q.dtype in (torch.float32, torch.bfloat16, torch.float64):
        return CpuFlash()
    if q.device.type == "cuda" and q.dtype in (torch.bfloat16, torch.float16) and q.shape[-1] <= 256:
        return Varlen()
    return Plain()
