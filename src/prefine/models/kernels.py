"""Attention over spans of one row by stock kernels that give the log-sum-exp: on CPUs, GPUs and in plain PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Spans = list[tuple[int, int]]
At = slice | Tensor
"""Places along a row: one span, or the index of many."""


@dataclass
class Piece:
    """Which rows see which keys, span by span. In a causal piece the rows are the last ones of their keys.

    No key stands in two spans of a piece.
    """

    rows: Spans
    keys: Spans
    causal: bool = False
    _indices: dict[torch.device, tuple[Tensor, ...]] = field(default_factory=dict, repr=False, compare=False)

    def indices(self, device: torch.device) -> tuple[Tensor, ...]:
        """Places of all rows and of all keys, and where each span ends among them; made once for all layers."""
        if device not in self._indices:
            self._indices[device] = (
                *(torch.cat([torch.arange(a, b) for a, b in s]).to(device) for s in (self.rows, self.keys)),
                *(_ends(s).to(device) for s in (self.rows, self.keys)),
            )
        return self._indices[device]


class Kernel(ABC):
    """Attention by pieces; q, k, v: (1, H, T, D), lse: (1, H, T), float32 or better.

    `forward` writes what the rows of a piece see; `join` adds keys to what they have seen before; `backward` adds the
    gradients by a piece, given the output and log-sum-exp of all that its rows have seen.
    """

    @abstractmethod
    def attend(
        self, piece: Piece, q: Tensor, k: Tensor, v: Tensor, scale: float
    ) -> Iterator[tuple[At, Tensor, Tensor]]:
        """Places of rows with their output (H, n, D) and log-sum-exp (H, n)."""

    @abstractmethod
    def differentiate(
        self, piece: Piece, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
    ) -> Iterator[tuple[At, At, Tensor, Tensor, Tensor]]:
        """Places of rows and keys with the gradients (H, n, D) by q, k and v."""

    def empty(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Room for out and lse; (1, T, H, D) in memory, so that the reshape after attention copies nothing."""
        _, h, t, d = q.shape
        lse = torch.empty(1, h, t, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        return q.new_empty(1, t, h, d).transpose(1, 2), lse

    def zeros(self, q: Tensor) -> Tensor:
        _, h, t, d = q.shape
        return q.new_zeros(1, t, h, d).transpose(1, 2)

    def forward(self, piece: Piece, q: Tensor, k: Tensor, v: Tensor, scale: float, out: Tensor, lse: Tensor) -> None:
        for at, o, n in self.attend(piece, q, k, v, scale):
            out[0, :, at], lse[0, :, at] = o, n

    def join(self, piece: Piece, q: Tensor, k: Tensor, v: Tensor, scale: float, out: Tensor, lse: Tensor) -> None:
        for at, o, n in self.attend(piece, q, k, v, scale):
            before, seen = lse[0, :, at], out[0, :, at]
            share = torch.sigmoid(n - before)[..., None]
            joined = torch.lerp(seen.to(share.dtype), o.to(share.dtype), share)
            out[0, :, at], lse[0, :, at] = joined.to(out.dtype), torch.logaddexp(n, before)

    def backward(
        self,
        piece: Piece,
        given: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
        scale: float,
        totals: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """given: the gradient of out, q, k, v, out and lse; totals: dq, dk and dv."""
        for at, to, *found in self.differentiate(piece, *given, scale):
            for total, place, part in zip(totals, (at, to, to), found, strict=True):
                if isinstance(place, slice):
                    total[0, :, place] += part
                else:
                    total[0].index_add_(1, place, part)


class SpanBySpan(Kernel):
    """One call for each span. The last row of a causal span sees all of its keys, so a single row needs no mask."""

    def attend(
        self, piece: Piece, q: Tensor, k: Tensor, v: Tensor, scale: float
    ) -> Iterator[tuple[At, Tensor, Tensor]]:
        for at, to in _slices(piece):
            causal = piece.causal and at.stop - at.start > 1
            o, n = self.attend_span(q[:, :, at], k[:, :, to], v[:, :, to], causal, scale)
            yield at, o[0], n[0]

    def differentiate(
        self, piece: Piece, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
    ) -> Iterator[tuple[At, At, Tensor, Tensor, Tensor]]:
        for at, to in _slices(piece):
            causal = piece.causal and at.stop - at.start > 1
            seen = (grad[:, :, at], q[:, :, at], k[:, :, to], v[:, :, to], out[:, :, at], lse[:, :, at])
            dq, dk, dv = self.differentiate_span(*seen, causal, scale)
            yield at, to, dq[0], dk[0], dv[0]

    @abstractmethod
    def attend_span(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp of one span."""

    @abstractmethod
    def differentiate_span(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of one span by q, k and v."""


class Plain(SpanBySpan):
    """The definition, in matrix products; for any device and type, and what the other kernels are tested against."""

    def attend_span(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        logits = self._logits(q, k, causal, scale)
        lse = torch.logsumexp(logits, -1)
        return ((logits - lse[..., None]).exp() @ v.to(logits.dtype)).to(q.dtype), lse

    def differentiate_span(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        p = (self._logits(q, k, causal, scale) - lse[..., None]).exp()
        g, o, vv, qq, kk = (x.to(p.dtype) for x in (grad, out, v, q, k))
        dp = g @ vv.transpose(-1, -2)
        ds = p * (dp - (g * o).sum(-1, keepdim=True)) * scale
        dq, dk, dv = ds @ kk, ds.transpose(-1, -2) @ qq, p.transpose(-1, -2) @ g
        return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype)

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

    def attend_span(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)

    def differentiate_span(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        if q.dtype == torch.bfloat16 and max(q.shape[2], k.shape[2]) <= SHORT:
            grad, q, k, v, out = (x.float() for x in (grad, q, k, v, out))
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, scale=scale
        )


class Varlen(Kernel):
    """FlashAttention of PyTorch for GPUs: all spans of a piece at once, each a sequence of its own length."""

    def __init__(self, ops: Any = None) -> None:
        self.ops = ops or torch.ops.aten

    def attend(
        self, piece: Piece, q: Tensor, k: Tensor, v: Tensor, scale: float
    ) -> Iterator[tuple[At, Tensor, Tensor]]:
        at, to, *ends = piece.indices(q.device)
        sequences = (*ends, _longest(piece.rows), _longest(piece.keys), 0.0, piece.causal)
        out, lse, *_ = self.ops._flash_attention_forward(
            _flat(q, at), _flat(k, to), _flat(v, to), *sequences, False, scale=scale
        )
        yield at, out.transpose(0, 1), lse

    def differentiate(
        self, piece: Piece, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
    ) -> Iterator[tuple[At, At, Tensor, Tensor, Tensor]]:
        at, to, *ends = piece.indices(q.device)
        sequences = (*ends, _longest(piece.rows), _longest(piece.keys), 0.0, piece.causal)
        queries, keys = (_flat(grad, at), _flat(q, at)), (_flat(k, to), _flat(v, to))
        unused = torch.empty(0, dtype=torch.int64, device=q.device)
        found = self.ops._flash_attention_backward(
            *queries, *keys, _flat(out, at), lse[0][:, at].contiguous(), *sequences, unused, unused, scale=scale
        )
        dq, dk, dv = (x.transpose(0, 1) for x in found)
        yield at, to, dq, dk, dv


def _slices(piece: Piece) -> list[tuple[slice, slice]]:
    return [(slice(*row), slice(*key)) for row, key in zip(piece.rows, piece.keys, strict=True)]


def _flat(x: Tensor, at: Tensor) -> Tensor:
    """Rows (n, H, D) of (1, H, T, D), as kernels for sequences of many lengths take them."""
    return x[0].transpose(0, 1)[at].contiguous()


def _ends(spans: Spans) -> Tensor:
    return torch.tensor([0, *(b - a for a, b in spans)]).cumsum(0).to(torch.int32)


def _longest(spans: Spans) -> int:
    return max(b - a for a, b in spans)


def kernel_for(q: Tensor) -> Kernel:
    """The fastest kernel that takes these queries."""
    if q.device.type == "cpu" and q.dtype in (torch.float32, torch.bfloat16, torch.float64):
        return CpuFlash()
    half = q.dtype in (torch.bfloat16, torch.float16)
    if q.device.type == "cuda" and half and q.shape[-1] <= 256 and q.shape[-1] % 8 == 0:
        return Varlen()
    return Plain()
