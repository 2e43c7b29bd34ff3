"""Attention among the segments of prompt trees, for any transformers model that calls the attention interface.

The trees of a micro-batch stand end to end in one row. A token sees the segment it stands in, up to itself, and all of
its segment's ancestors. Each such piece is computed by a stock kernel without a mask, and the pieces are joined by
their log-sum-exp; the backward pass calls the kernels' own backward with the joined output, which makes it exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from prefine.models.kernels import Kernel, Spans, kernel_for

NAME = "prefine_tree"


class Unhandled(Exception):
    """A layer asks for something that attention among trees does not do; the message names it."""


@dataclass
class Segments:
    """Segments of one row, in depth-first order, so that all descendants of a segment follow it without a gap.

    spans: (start, end) of each segment; parents: the index of each one's parent, -1 for a root. Roots that end where
    only their last row is used by the last layer are what `pruned` means.
    """

    spans: Spans
    parents: list[int]
    crossings: list[tuple[Spans, Spans]] = field(default_factory=list)
    """By depth of the ancestor: rows of its descendants, and its own rows."""

    def __post_init__(self) -> None:
        depth, last = [], list(range(len(self.spans)))
        for parent in self.parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        for i in reversed(range(len(self.spans))):
            if self.parents[i] >= 0:
                last[self.parents[i]] = max(last[self.parents[i]], last[i])
        for level in range(max(depth, default=0)):
            inner = [i for i in range(len(self.spans)) if depth[i] == level and last[i] > i]
            below = [(self.spans[i][1], self.spans[last[i]][1]) for i in inner]
            self.crossings.append((below, [self.spans[i] for i in inner]))


class _Trees(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float, kernel: Kernel, tails: Spans | None
    ) -> Tensor:
        """q: (1, H, T, D), k, v: (1, G, T, D) with H a multiple of G -> (1, H, T, D).

        tails: the rows of each segment whose result is used, where that is not all of them.
        """
        out, lse = kernel.empty(q)
        kr, vr = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
        own = tails or segments.spans
        if tails is not None:
            out.zero_()
            lse.zero_()
        kernel.forward(q, kr, vr, own, segments.spans, True, scale, out, lse)
        for below, above in segments.crossings:
            kernel.join(q, kr, vr, below, above, scale, out, lse)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.segments, ctx.scale, ctx.kernel, ctx.tails = segments, scale, kernel, tails
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, out, lse = ctx.saved_tensors
        segments, kernel = ctx.segments, ctx.kernel
        kr, vr = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
        dq, dk, dv = kernel.zeros(q), kernel.zeros(q), kernel.zeros(q)
        given = (grad, q, kr, vr, out, lse)
        kernel.backward(*given, ctx.tails or segments.spans, segments.spans, True, ctx.scale, dq, dk, dv)
        for below, above in segments.crossings:
            kernel.backward(*given, below, above, False, ctx.scale, dq, dk, dv)
        groups = k.shape[1]
        if groups != q.shape[1]:
            shape = (1, groups, q.shape[1] // groups, *k.shape[2:])
            dk, dv = (x.reshape(shape).sum(2) for x in (dk, dv))
        return dq, dk, dv, None, None, None, None


def _repeated(x: Tensor, heads: int) -> Tensor:
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


@dataclass
class _Active:
    """What attention is called with now. Not a context variable: the backward pass may run in another thread, and
    recomputes layers there when activations are checkpointed."""

    segments: Segments | None = None
    longest: int = 0
    pruned_layer: int | None = None
    calls: list[int] | None = None


_active = _Active()


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **asked: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls; the trees are those of `among`."""
    segments = _active.segments
    if segments is None:
        raise Unhandled("attention was called without trees")
    _refuse(module, query, key, value, attention_mask, dropout, asked)
    layer = int(getattr(module, "layer_idx", -1))
    if _active.calls is not None:
        _active.calls.append(layer)
    tails = [
        (end - 1, end) if p < 0 else (start, end)
        for (start, end), p in zip(segments.spans, segments.parents, strict=True)
    ]
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    kernel = kernel_for(query)
    out = _Trees.apply(query, key, value, segments, scale, kernel, tails if layer == _active.pruned_layer else None)
    return out.transpose(1, 2), None  # type: ignore[union-attr]


HARMLESS = {"position_ids", "use_cache", "cache_position", "output_attentions", "position_embeddings"}
"""Keyword arguments of attention functions that say nothing that trees would have to do differently."""


def _refuse(
    module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, asked: dict[str, Any]
) -> None:
    window = asked.pop("sliding_window", None)
    if window is not None and window < _active.longest:
        raise Unhandled(f"a window of {window} tokens is shorter than a path of {_active.longest}")
    if dropout:
        raise Unhandled("dropout of attention weights")
    if mask is not None:
        raise Unhandled("a mask of its own")
    if k.shape[-1] != v.shape[-1] or q.shape[-1] != k.shape[-1]:
        raise Unhandled("values of another width than keys")
    if q.shape[1] % k.shape[1] or q.shape[2] != k.shape[2]:
        raise Unhandled("keys of another length than queries")
    if q.shape[0] != 1 or q.shape[2] != _active.segments.spans[-1][1]:  # type: ignore[union-attr]
        raise Unhandled("rows that are not those of the trees")
    if getattr(module, "is_causal", True) is False or asked.pop("is_causal", None) is False:
        raise Unhandled("attention that is not causal")
    for name, value in asked.items():
        if value is not None and value is not False and name not in HARMLESS:
            raise Unhandled(f"'{name}'")


@contextlib.contextmanager
def among(
    model: Any,
    segments: Segments,
    longest: int,
    *,
    pruned_layer: int | None = None,
    calls: list[int] | None = None,
    keep: bool = False,
) -> Iterator[None]:
    """Attention of `model` runs among these segments inside the block; longest: tokens of the longest path.

    With `keep` it still does so afterwards, until `released`: where activations are checkpointed, the backward pass
    calls the layers again.
    """
    released(model)
    _register()
    _active.segments, _active.longest = segments, longest
    _active.pruned_layer, _active.calls = pruned_layer, calls
    configs = _configs(model)
    _held[id(model)] = [(c, c._attn_implementation) for c in configs]
    for config in configs:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        if not keep:
            released(model)
        _active.calls = None


_held: dict[int, list[tuple[Any, str]]] = {}


def released(model: Any) -> None:
    """Give the model its own attention back."""
    for config, name in _held.pop(id(model), []):
        config._attn_implementation = name


def _configs(model: Any) -> list[Any]:
    """The configurations that the model's layers read."""
    found = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    return [c for c in found.values() if hasattr(c, "_attn_implementation")]


def _register() -> None:
    from transformers import AttentionInterface

    # A name without a mask function: transformers then builds no mask at all.
    AttentionInterface.register(NAME, tree_attention)
