"""What objectives want to know of each token's distribution, again without a [tokens, vocabulary] matrix."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prefine.models.head import WITH_SLOPE, WITHOUT, Head, chunks, logits_of, row_statistics, weight_gradient
from prefine.models.tiles import exact, finished

COMPARING = frozenset({"seq_kl", "divergence"})
"""Those that compare the policy with another model."""
DIFFERENTIABLE = WITH_SLOPE | COMPARING
DETACHED = WITHOUT

Divergence = Callable[..., Tensor]


def token_statistics(
    hidden: Tensor,
    head: Head,
    labels: Tensor,
    names: Collection[str],
    *,
    other_hidden: Tensor | None = None,
    other_head: Head | None = None,
    targets: tuple[Tensor, Tensor] | None = None,
    divergence: Divergence | None = None,
    vocab_size: int | None = None,
) -> dict[str, Tensor]:
    """The statistics called `names`, (n,) each, in float32 (float64 for a float64 model).

    hidden: (n, H) final hidden states that predict `labels`: (n,). other_hidden: (n, H') those of another, frozen model
    (reference or teacher) for the same labels. What the names mean, and the other arguments, are as in
    `logit_statistics`. Where two models are compared, logits exist a chunk of whole rows at a time, in the forward and
    again in the backward pass, otherwise by tiles; the gradient reaches the policy alone.
    """
    order = tuple(sorted(set(names)))
    _check(order, divergence, other_hidden is not None, targets is not None)
    if (other_hidden is None) != (other_head is None):
        raise ValueError("other_hidden and other_head go together")
    work = _Work(order, labels, head.scale, head.softcap, other_hidden, other_head, targets, divergence, vocab_size)
    rows = {"hidden": hidden, "other_hidden": other_hidden, "targets": None if targets is None else targets[0]}
    for name, value in rows.items():
        if value is not None and len(value) != len(labels):
            raise ValueError(f"{name} has {len(value)} rows for {len(labels)} labels")
    if COMPARING.isdisjoint(order):
        return row_statistics(hidden, head, labels, order)
    return dict(zip(order, _TokenStatistics.apply(hidden, head.weight, head.bias, work, head), strict=True))


def logit_statistics(
    logits: Tensor,
    labels: Tensor,
    names: Collection[str],
    *,
    other_logits: Tensor | None = None,
    targets: tuple[Tensor, Tensor] | None = None,
    divergence: Divergence | None = None,
    vocab_size: int | None = None,
) -> dict[str, Tensor]:
    """The same from logits (n, V): the definition, and the way for models whose head is not one linear layer.

    With gradient: logps log p(label); smooth_logps mean_v log p(v); z_squares logsumexp(logits)^2; seq_kl
    KL(other || policy) over the vocabulary; divergence, that is divergence(policy's logits, other_logits), or with
    targets = (ids (n, k), logps (n, k)), the stored top k of a teacher, divergence(policy's logits, ids, logps).
    Without gradient: overlap log sum_v p(v)^2; max_logps max_v log p(v); entropy; hits, 1 where the label is the most
    likely token.
    vocab_size: logits behind it are cut off before the two models are compared, since both may pad their embeddings
    differently; models of different sizes cannot be compared without it.
    """
    _check(names, divergence, other_logits is not None, targets is not None)
    norm = torch.logsumexp(logits, -1)
    out: dict[str, Tensor] = {}
    if "logps" in names:
        out["logps"] = logits.gather(1, labels[:, None]).squeeze(1) - norm
    if "smooth_logps" in names:
        out["smooth_logps"] = logits.mean(-1) - norm
    if "z_squares" in names:
        out["z_squares"] = norm**2
    out |= _detached(logits.detach(), norm.detach(), labels, names)
    if COMPARING.isdisjoint(names):
        return out
    policy, other = _cut(logits, other_logits, vocab_size)
    if "divergence" in names:
        assert divergence is not None
        out["divergence"] = divergence(policy, other) if targets is None else divergence(policy, *targets)
    if "seq_kl" in names:
        assert other is not None
        p, q = torch.log_softmax(policy, -1), torch.log_softmax(other, -1)
        out["seq_kl"] = (q.exp() * (q - p)).sum(-1)
    return out


@torch.no_grad()
def _detached(logits: Tensor, norm: Tensor, labels: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    out = {}
    if "max_logps" in names:
        out["max_logps"] = logits.amax(-1) - norm
    if "hits" in names:
        out["hits"] = (logits.argmax(-1) == labels).to(logits.dtype)
    if "overlap" in names or "entropy" in names:
        logps = logits - norm[:, None]
        if "entropy" in names:
            out["entropy"] = -(logps.exp() * logps).sum(-1)
        if "overlap" in names:
            out["overlap"] = torch.logsumexp(2 * logps, -1)
    return out


def _cut(policy: Tensor, other: Tensor | None, size: int | None) -> tuple[Tensor, Tensor | None]:
    widths = {policy.shape[-1]} | ({other.shape[-1]} if other is not None else set())
    if size is None and len(widths) > 1:
        raise ValueError(
            f"the policy has {policy.shape[-1]} logits and the other model {other.shape[-1]}; "  # type: ignore[union-attr]
            "vocab_size has to tell how many of them are tokens of both"
        )
    if size is not None and size > min(widths):
        raise ValueError(f"vocab_size {size} exceeds the {min(widths)} logits of a model")
    return policy[:, :size], None if other is None else other[:, :size].detach().to(policy.dtype)


def _check(names: Collection[str], divergence: Divergence | None, other: bool, targets: bool) -> None:
    if unknown := set(names) - DIFFERENTIABLE - DETACHED:
        raise ValueError(f"unknown token statistics: {', '.join(sorted(unknown))}")
    if "divergence" in names and (divergence is None or not (other or targets)):
        raise ValueError("divergence needs a divergence and another model's logits or targets")
    if "seq_kl" in names and not other:
        raise ValueError("seq_kl needs another model's logits")


@dataclass
class _Work:
    """All arguments that get no gradient."""

    names: tuple[str, ...]
    labels: Tensor
    scale: float
    softcap: float | None
    other_hidden: Tensor | None
    other_head: Head | None
    targets: tuple[Tensor, Tensor] | None
    divergence: Divergence | None
    vocab_size: int | None

    @torch.no_grad()
    def prepared(self) -> _Work:
        """The same, with the other model's weight in the dtype of its hidden states."""
        if self.other_hidden is None or self.other_head is None or COMPARING.isdisjoint(self.names):
            return self
        head = self.other_head
        weight = head.weight.to(self.other_hidden.dtype)
        return replace(self, other_head=Head(weight, head.bias, head.scale, head.softcap))

    def __call__(self, z: Tensor, rows: slice, names: Collection[str]) -> dict[str, Tensor]:
        """Statistics of the rows, from the policy's logits of them."""
        other = None
        if self.other_hidden is not None and self.other_head is not None and not COMPARING.isdisjoint(names):
            head = self.other_head
            with torch.no_grad():
                other = logits_of(self.other_hidden[rows], head.weight, head.bias, head.scale, head.softcap)
        return logit_statistics(
            z,
            self.labels[rows],
            names,
            other_logits=other,
            targets=None if self.targets is None else (self.targets[0][rows], self.targets[1][rows]),
            divergence=self.divergence,
            vocab_size=self.vocab_size,
        )


class _TokenStatistics(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Work, head: Head
    ) -> tuple[Tensor, ...]:
        n = len(work.labels)
        out = {name: torch.empty(n, dtype=exact(hidden.dtype), device=hidden.device) for name in work.names}
        with torch.autocast(hidden.device.type, enabled=False):
            w, ready = weight.to(hidden.dtype), work.prepared()
            for rows in chunks(n, weight.shape[0], hidden.device):
                z = logits_of(hidden[rows], w, bias, work.scale, work.softcap)
                for name, values in ready(z, rows, work.names).items():
                    out[name][rows] = values
        ctx.save_for_backward(hidden, weight, bias)
        ctx.work, ctx.head = work, head
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(out[name] for name in work.names if name in DETACHED))
        return tuple(out[name] for name in work.names)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias = ctx.saved_tensors
        work: _Work = ctx.work
        given = {k: g for k, g in zip(work.names, grads, strict=True) if g is not None and k in DIFFERENTIABLE}
        want_h, want_w, want_b = ctx.needs_input_grad[:3]
        sums = exact(hidden.dtype)
        d_hidden = torch.zeros_like(hidden) if want_h else None
        d_weight = weight_gradient(ctx.head) if want_w else None
        d_bias = torch.zeros(weight.shape[0], dtype=sums, device=weight.device) if want_b else None
        with torch.autocast(hidden.device.type, enabled=False):
            w, ready = weight.to(hidden.dtype), work.prepared()
            for rows in chunks(len(work.labels), weight.shape[0], hidden.device) if given else []:
                # The gradient ends at hidden @ weight.T: from there on it is two products, summed exactly.
                product = (hidden[rows] @ w.t()).to(sums).requires_grad_()
                with torch.enable_grad():
                    z = finished(product, bias, work.scale, work.softcap)
                    statistics = ready(z, rows, tuple(given))
                (d,) = torch.autograd.grad([statistics[k] for k in given], product, [g[rows] for g in given.values()])
                if d_bias is not None:
                    d_bias += d.sum(0)
                d = d.to(hidden.dtype)
                if d_hidden is not None:
                    d_hidden[rows] = d @ w
                if d_weight is not None:
                    d_weight += d.t() @ hidden[rows]
        return (
            d_hidden,
            None if d_weight is None or ctx.head.room is not None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
            None,
            None,
        )
