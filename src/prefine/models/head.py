"""Log-probabilities of labels without ever holding a [tokens, vocabulary] matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS_IN_CHUNK = 1 << 21
"""Logits in full precision at a time; on a CPU they should stay in its cache."""
KEPT_BYTES = 256 << 20
"""Probabilities that may be kept for the backward pass of a trained head."""


@dataclass
class Head:
    """The output layer of a causal language model: logits = cap(scale * (hidden @ weight.T + bias))."""

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None


def find_head(model: Any) -> Head | None:
    """The head of a transformers model, or None when it is not one linear layer.

    Whether the formula above is all that the model does is not taken on trust: the check before training compares it
    with the model's own logits.
    """
    layer = model.get_output_embeddings()
    if type(layer) is not torch.nn.Linear:
        return None
    config = model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return Head(layer.weight, layer.bias, scale, float(cap) if cap else None)


def token_logps(hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
    """log p(label) for every row, in float32 (float64 for a float64 model).

    hidden: (n, H) final hidden states that predict `labels`: (n,). Logits exist a chunk of rows at a time, in the
    forward
    and again in the backward pass; sums run in float32.
    """
    return _TokenLogps.apply(hidden, head.weight, head.bias, labels, head.scale, head.softcap)  # type: ignore[no-any-return]


class _TokenLogps(torch.autograd.Function):
    """Three ways to a gradient, none of which holds a [tokens, vocabulary] matrix in full precision.

    With a frozen head, the gradient of each row's log-prob by its hidden state is worked out at once: two matrix
    products, and nothing of the vocabulary's size is kept. With a trained head the probabilities of as many rows as fit
    `KEPT_BYTES` are kept for the backward pass, in the compute type: three products. The others' are computed again:
    four.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, scale: float, cap: float | None
    ) -> Tensor:
        rows, vocabulary = len(labels), weight.shape[0]
        ctx.frozen = not weight.requires_grad and not (bias is not None and bias.requires_grad)
        kept = unit = None
        if ctx.frozen and hidden.requires_grad:
            unit = torch.empty_like(hidden)
        elif weight.requires_grad:
            fit = min(rows, KEPT_BYTES // (vocabulary * hidden.element_size()))
            kept = hidden.new_empty(fit, vocabulary)
        with torch.autocast(hidden.device.type, enabled=False):
            w = weight.to(hidden.dtype)
            out = torch.empty(rows, dtype=exact(hidden.dtype), device=hidden.device)
            for part in chunks(rows, vocabulary):
                z = logits_of(hidden[part], w, bias, scale, cap)
                at = labels[part, None]
                room = 0 if kept is None else len(kept)
                if unit is None and part.start >= room:
                    out[part] = _logp(z, at)
                    continue
                out[part], d = _logp_and_slope(z, at, scale, cap, hidden.dtype)
                if unit is not None:
                    torch.mm(d, w, out=unit[part])
                else:
                    assert kept is not None
                    kept[part.start : part.stop] = d[: room - part.start]
        ctx.save_for_backward(hidden, weight, bias, labels, kept, unit)
        ctx.scale, ctx.cap = scale, cap
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, labels, kept, unit = ctx.saved_tensors
        if unit is not None:
            return (unit * grad[:, None]).to(hidden.dtype), None, None, None, None, None
        w = weight.to(hidden.dtype)
        want_h, want_w, want_b = ctx.needs_input_grad[:3]
        d_hidden = torch.empty_like(hidden) if want_h else None
        d_weight = torch.zeros(weight.shape, dtype=grad.dtype, device=weight.device) if want_w else None
        d_bias = torch.zeros(weight.shape[0], dtype=grad.dtype, device=weight.device) if want_b else None
        room = 0 if kept is None else len(kept)
        again = [slice(p.start + room, p.stop + room) for p in chunks(len(labels) - room, weight.shape[0])]
        for part in ([slice(0, room)] if room else []) + again:
            if part.stop <= room:
                assert kept is not None
                d = kept
            else:
                z = logits_of(hidden[part], w, bias, ctx.scale, ctx.cap)
                d = _slope(z, labels[part, None], ctx.scale, ctx.cap, hidden.dtype)
            g = grad[part, None].to(hidden.dtype)
            if d_hidden is not None:
                torch.mm(d, w, out=d_hidden[part])
                d_hidden[part] *= g
            if d_weight is not None:
                d_weight += d.t() @ (hidden[part] * g)
            if d_bias is not None:
                d_bias += (d * g).sum(0, dtype=grad.dtype)
        return (
            d_hidden,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
            None,
            None,
            None,
        )


UNDERFLOW = 1e-30
"""A probability below this has lost the digits of its logarithm."""


def _logp(z: Tensor, labels: Tensor) -> Tensor:
    return z.gather(1, labels).squeeze(1) - torch.logsumexp(z, -1)


def _logp_and_slope(
    z: Tensor, labels: Tensor, scale: float, cap: float | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """log p(label), (c,), and its derivative by hidden @ weight.T, (c, V), from one softmax."""
    p = torch.softmax(z, -1)
    likely = p.gather(1, labels)
    # Looking at the smallest would make a GPU wait.
    precise = z.device.type == "cpu" and float(likely.min()) > UNDERFLOW
    logp = likely.log().squeeze(1) if precise else _logp(z, labels)
    return logp, _slope(z, labels, scale, cap, dtype, p)


def _slope(
    z: Tensor, labels: Tensor, scale: float, cap: float | None, dtype: torch.dtype, p: Tensor | None = None
) -> Tensor:
    d = (torch.softmax(z, -1) if p is None else p).neg_()
    d.scatter_add_(1, labels, torch.ones_like(labels, dtype=d.dtype))
    if cap is not None:
        d *= 1 - (z / cap) ** 2
    if scale != 1.0:
        d *= scale
    return d.to(dtype)


def logits_of(hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, cap: float | None) -> Tensor:
    """(n, V) logits in the dtype of `exact`; the weight has the dtype of the hidden states."""
    return finished((hidden @ weight.t()).to(exact(hidden.dtype)), bias, scale, cap)


def finished(z: Tensor, bias: Tensor | None, scale: float, cap: float | None) -> Tensor:
    """Logits from z = hidden @ weight.T."""
    if bias is not None:
        z = z + bias.to(z.dtype)
    if scale != 1.0:
        z = z * scale
    return z if cap is None else cap * torch.tanh(z / cap)


def exact(dtype: torch.dtype) -> torch.dtype:
    """Sums run in float32, or in float64 for a float64 model."""
    return torch.promote_types(dtype, torch.float32)


def chunks(rows: int, vocabulary: int) -> list[slice]:
    """Slices of rows whose logits are few enough to be held at once."""
    size = max(16, LOGITS_IN_CHUNK // vocabulary)
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]
