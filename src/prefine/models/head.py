"""Log-probabilities of labels without ever holding a [tokens, vocabulary] matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LOGITS_IN_CHUNK = 1 << 22


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
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, scale: float, cap: float | None
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            w = weight.to(hidden.dtype)
            out = torch.empty(len(labels), dtype=exact(hidden.dtype), device=hidden.device)
            norm = torch.empty_like(out)
            for rows in chunks(len(labels), weight.shape[0]):
                z = logits_of(hidden[rows], w, bias, scale, cap)
                norm[rows] = torch.logsumexp(z, -1)
                out[rows] = z.gather(1, labels[rows, None]).squeeze(1) - norm[rows]
        ctx.save_for_backward(hidden, weight, bias, labels, norm)
        ctx.scale, ctx.cap = scale, cap
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, labels, norm = ctx.saved_tensors
        w = weight.to(hidden.dtype)
        want_h, want_w, want_b = ctx.needs_input_grad[:3]
        d_hidden = torch.empty_like(hidden) if want_h else None
        d_weight = torch.zeros(weight.shape, dtype=norm.dtype, device=weight.device) if want_w else None
        d_bias = torch.zeros(weight.shape[0], dtype=norm.dtype, device=weight.device) if want_b else None
        for rows in chunks(len(labels), weight.shape[0]):
            z = logits_of(hidden[rows], w, bias, ctx.scale, ctx.cap)
            d = torch.exp(z - norm[rows, None]).neg_()
            d.scatter_add_(1, labels[rows, None], torch.ones_like(norm[rows, None]))
            d *= grad[rows, None]
            if ctx.cap is not None:
                d *= 1 - (z / ctx.cap) ** 2
            d = (d * ctx.scale).to(hidden.dtype)
            if d_hidden is not None:
                d_hidden[rows] = d @ w
            if d_weight is not None:
                d_weight += d.t() @ hidden[rows]
            if d_bias is not None:
                d_bias += d.sum(0)
        return (
            d_hidden,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
            None,
            None,
            None,
        )


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
