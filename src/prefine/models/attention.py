"""Attention among the segments of prompt trees, for any transformers model that calls the attention interface.

The trees of a micro-batch stand end to end in one row. A token sees the segment it stands in, up to itself, and all of
its segment's ancestors. Each such piece is computed by a stock kernel without a mask, and the pieces are joined by
their log-sum-exp; the backward pass calls the kernels' own backward with the joined output, which makes it exact.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prefine.models import flex
from prefine.models.kernels import Kernel, Piece, Spans, kernel_for

NAME = "prefine_tree"


class Unhandled(Exception):
    """A layer asks for something that attention among trees does not do; the message names it."""


class Segments:
    """Segments of one row, in depth-first order, so that all descendants of a segment follow it without a gap.

    spans: (start, end) of each segment; parents: the index of each one's parent, -1 for a root. `own`: every segment by
    itself; `pruned`: the same for a last layer, of which only the last row of a root is read; `crossings`: by the depth
    of the ancestor, what descendants see of it.
    """

    def __init__(self, spans: Spans, parents: list[int]) -> None:
        self.spans, self.parents = spans, parents
        self.masks: dict[Any, Any] = {}
        """FlexAttention's, made once for all layers alike."""
        self.own = Piece(spans, spans, causal=True)
        tails = [(b - 1, b) if parent < 0 else (a, b) for (a, b), parent in zip(spans, parents, strict=True)]
        self.pruned = Piece(tails, spans, causal=True)
        self.crossings: list[Piece] = []
        depth, last = [], list(range(len(spans)))
        for parent in parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        for i in reversed(range(len(spans))):
            if parents[i] >= 0:
                last[parents[i]] = max(last[parents[i]], last[i])
        for level in range(max(depth, default=0)):
            inner = [i for i in range(len(spans)) if depth[i] == level and last[i] > i]
            below = [(spans[i][1], spans[last[i]][1]) for i in inner]
            self.crossings.append(Piece(below, [spans[i] for i in inner]))


class _Trees(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float, kernel: Kernel, pruned: bool
    ) -> Tensor:
        """q: (1, H, T, D), k, v: (1, G, T, D) with H a multiple of G -> (1, H, T, D); rows that are not read are 0."""
        out, lse = kernel.empty(q)
        kr, vr = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
        if pruned:
            out.zero_()
            lse.zero_()
        kernel.forward(segments.pruned if pruned else segments.own, q, kr, vr, scale, out, lse)
        for piece in segments.crossings:
            kernel.join(piece, q, kr, vr, scale, out, lse)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.segments, ctx.scale, ctx.kernel, ctx.pruned = segments, scale, kernel, pruned
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, out, lse = ctx.saved_tensors
        segments, kernel = ctx.segments, ctx.kernel
        given = (grad, q, _repeated(k, q.shape[1]), _repeated(v, q.shape[1]), out, lse)
        totals = dq, dk, dv = kernel.zeros(q), kernel.zeros(q), kernel.zeros(q)
        for piece in [segments.pruned if ctx.pruned else segments.own, *segments.crossings]:
            kernel.backward(piece, given, ctx.scale, totals)
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
    windows: list[int | None] | None = None


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
    wish = _wish(asked)
    _refuse(module, query, key, value, attention_mask, dropout, asked)
    layer = int(getattr(module, "layer_idx", -1))
    if _active.calls is not None:
        _active.calls.append(layer)
    if _active.windows is not None:
        _active.windows.append(asked.get("sliding_window"))
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    if wish is not None:
        why = flex.trouble(query.device.type, query.dtype, query.shape[-1])
        if why is not None:
            raise Unhandled(f"{_named(wish)} ({why})")
        return flex.attend(query, key, value, segments, scale, wish).transpose(1, 2), None
    out = _Trees.apply(query, key, value, segments, scale, kernel_for(query), layer == _active.pruned_layer)
    return out.transpose(1, 2), None  # type: ignore[union-attr]


HARMLESS = {"is_causal", "position_ids", "use_cache", "cache_position", "output_attentions", "position_embeddings"}
"""Keyword arguments of attention functions that say nothing that trees would have to do differently."""


def _wish(asked: dict[str, Any]) -> flex.Wish | None:
    """What asks for FlexAttention among the keyword arguments; a window that no path leaves does not."""
    window, softcap, sinks = (asked.get(name) for name in ("sliding_window", "softcap", "s_aux"))
    if window is None or window >= _active.longest:
        window = None
    wish = flex.Wish(window, None if softcap is None else float(softcap), sinks)
    return None if wish == flex.Wish() else wish


def _named(wish: flex.Wish) -> str:
    if wish.window is not None:
        return f"a window of {wish.window} tokens, shorter than a path of {_active.longest}"
    return "'softcap'" if wish.softcap is not None else "'s_aux'"


DONE = {"sliding_window", "softcap", "s_aux"}
"""What `models.flex` does."""


def _refuse(
    module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, asked: dict[str, Any]
) -> None:
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
    if getattr(module, "is_causal", True) is False or asked.get("is_causal") is False:
        raise Unhandled("attention that is not causal")
    for name, value in asked.items():
        if value is not None and value is not False and name not in HARMLESS | DONE:
            raise Unhandled(f"'{name}'")


@contextlib.contextmanager
def among(
    model: Any,
    segments: Segments,
    longest: int,
    *,
    pruned_layer: int | None = None,
    calls: list[int] | None = None,
    windows: list[int | None] | None = None,
    keep: bool = False,
) -> Iterator[None]:
    """Attention of `model` runs among these segments inside the block; longest: tokens of the longest path.

    With `keep` it still does so afterwards, until `released`: where activations are checkpointed, the backward pass
    calls the layers again.
    """
    released(model)
    _register()
    _active.segments, _active.longest = segments, longest
    _active.pruned_layer, _active.calls, _active.windows = pruned_layer, calls, windows
    configs = _configs(model)
    _held[model] = [(c, c._attn_implementation) for c in configs]
    for config in configs:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        if not keep:
            released(model)
        _active.calls = _active.windows = None


_held: weakref.WeakKeyDictionary[Any, list[tuple[Any, str]]] = weakref.WeakKeyDictionary()
"""What each model that runs among trees had before."""


def released(model: Any) -> None:
    """Give the model its own attention back."""
    for config, name in _held.pop(model, []):
        config._attn_implementation = name


def _configs(model: Any) -> list[Any]:
    """The configurations that the model's layers read."""
    found = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    return [c for c in found.values() if hasattr(c, "_attn_implementation")]


def _register() -> None:
    from transformers import AttentionInterface

    # A name without a mask function: transformers then builds no mask at all.
    AttentionInterface.register(NAME, tree_attention)
