"""Attention among trees with soft-caps, sliding windows and sinks: PyTorch's FlexAttention, whose backward needs a GPU.

In depth-first order a token is seen by those that follow it, up to where its segment's last descendant ends. So two
numbers for each token say who sees whom: that end, and its place on its path, which is what windows count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from prefine.models.attention import Segments

BLOCK = 128
"""Rows and columns that the kernel skips, computes without a mask, or with it, together."""


@dataclass(frozen=True)
class Wish:
    """What a layer asks for beyond plain attention. window: tokens that it sees, itself among them; sinks: (H,) logits
    that take their share of the attention and give nothing."""

    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None


@dataclass
class Trees:
    """For each token of a row: reach, the end of its segment's last descendant, and depth, its place on its path."""

    reach: Tensor
    depth: Tensor

    @classmethod
    def of(cls, segments: Segments, device: torch.device) -> Trees:
        ends, above = [end for _, end in segments.spans], [0] * len(segments.spans)
        for i in reversed(range(len(ends))):
            parent = segments.parents[i]
            if parent >= 0:
                ends[parent] = max(ends[parent], ends[i])
        for i, parent in enumerate(segments.parents):
            if parent >= 0:
                start, end = segments.spans[parent]
                above[i] = above[parent] + end - start
        sizes = torch.tensor([b - a for a, b in segments.spans])
        reach = torch.tensor(ends).repeat_interleave(sizes)
        depth = torch.cat([torch.arange(n) + d for n, d in zip(sizes.tolist(), above, strict=True)])
        return cls(reach.to(device, torch.int32), depth.to(device, torch.int32))


def visible(trees: Trees, window: int | None) -> Callable[..., Tensor]:
    """FlexAttention's mask_mod: whether query q sees key k."""
    reach, depth = trees.reach, trees.depth

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < reach[k])

    if window is None:
        return mask

    def windowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < reach[k]) & (depth[q] - depth[k] < window)

    return windowed


def capped(softcap: float) -> Callable[..., Tensor]:
    """FlexAttention's score_mod for soft-capped logits."""

    def score(z: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return softcap * torch.tanh(z / softcap)

    return score


def block_kinds(trees: Trees, window: int | None) -> tuple[Tensor, Tensor]:
    """(B, B) bool each: blocks of queries and keys that need the mask, and those where all see all. The others are
    empty. From a few numbers of each block: a block that might hold something counts as one that needs the mask."""
    t = len(trees.reach)
    count = -(-t // BLOCK)

    def ends(x: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest of each block."""
        low = torch.nn.functional.pad(x, (0, count * BLOCK - t), value=int(x.max())).view(count, BLOCK)
        high = torch.nn.functional.pad(x, (0, count * BLOCK - t), value=0).view(count, BLOCK)
        return low.amin(1), high.amax(1)

    start = torch.arange(count, device=trees.reach.device) * BLOCK
    stop = (start + BLOCK).clamp(max=t)
    (near, far), (shallow, deep) = ends(trees.reach), ends(trees.depth)
    before = start[:, None] > start[None, :]
    some = (before & (far[None, :] > start[:, None])) | torch.eye(count, dtype=torch.bool, device=start.device)
    every = before & (near[None, :] >= stop[:, None])
    if window is not None:
        some &= shallow[:, None] - deep[None, :] < window
        every &= deep[:, None] - shallow[None, :] < window
    return some & ~every, every


def block_mask(trees: Trees, window: int | None) -> Any:
    """FlexAttention's BlockMask, without ever looking at all pairs of tokens."""
    from torch.nn.attention.flex_attention import BlockMask

    given = []
    for kind in block_kinds(trees, window):
        order = torch.argsort(kind.int(), dim=1, descending=True, stable=True)
        given += [kind.sum(1)[None, None].int(), order[None, None].int()]
    size = (len(trees.reach), len(trees.reach))
    return BlockMask.from_kv_blocks(*given, BLOCK_SIZE=BLOCK, mask_mod=visible(trees, window), seq_lengths=size)


def attend(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float, wish: Wish) -> Tensor:
    """q: (1, H, T, D), k, v: (1, G, T, D) with H a multiple of G -> (1, H, T, D)."""
    from torch.nn.attention.flex_attention import AuxRequest

    key = (q.device, wish.window)
    if key not in segments.masks:
        segments.masks[key] = block_mask(Trees.of(segments, q.device), wish.window)
    out, aux = _compiled(q.device.type)(
        q,
        k,
        v,
        score_mod=None if wish.softcap is None else capped(wish.softcap),
        block_mask=segments.masks[key],
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
        return_aux=AuxRequest(lse=True),
    )
    if wish.sinks is None:
        return out
    kept = torch.sigmoid(aux.lse.float() - wish.sinks.float()[None, :, None])
    return (out * kept[..., None]).to(out.dtype)


@functools.cache
def _compiled(kind: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if kind == "cpu" else torch.compile(flex_attention, dynamic=True)


@functools.cache
def trouble(kind: str, dtype: torch.dtype, width: int) -> str | None:
    """Why FlexAttention is not used on a kind of device; None if it is, and gave the right numbers in a small trial."""
    if kind != "cuda":
        return f"FlexAttention has no backward pass on {kind}"
    try:
        away = trial(kind, dtype, width)
    # A compiler on hardware it was never tried on may fail in any way.
    except Exception as error:
        return f"FlexAttention does not run here ({type(error).__name__})"
    return None if away <= (1e-3 if dtype == torch.float32 else 3e-2) else "FlexAttention gives other numbers here"


def trial(kind: str, dtype: torch.dtype, width: int, *, backward: bool = True) -> float:
    """The largest relative error of output and gradients on trees with all that a layer may wish."""
    from prefine.models.attention import Segments

    segments = Segments([(0, 90), (90, 150), (150, 290), (290, 300), (300, 321)], [-1, 0, 0, -1, 3])
    draw = torch.Generator().manual_seed(0)
    q, k, v, sinks, grad = (
        torch.randn(*shape, generator=draw).to(kind, dtype)
        for shape in ((1, 4, 321, width), (1, 2, 321, width), (1, 2, 321, width), (4,), (1, 4, 321, width))
    )
    runs = []
    for compute in (dense, attend):
        leaves = [x.float() if compute is dense else x.clone() for x in (q, k, v, sinks)]
        leaves = [x.requires_grad_(backward) for x in leaves]
        out = compute(*leaves[:3], segments, 0.3, Wish(40, 2.0, leaves[3]))
        grads = torch.autograd.grad(out, leaves, grad.to(out.dtype)) if backward else ()
        runs.append([out.detach(), *grads])
    return max(float((b.float() - a).norm() / a.norm()) for a, b in zip(*runs, strict=True))


def dense(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float, wish: Wish) -> Tensor:
    """The definition of `attend`, with the whole matrix of scores."""
    at = torch.arange(q.shape[2], device=q.device)
    seen = visible(Trees.of(segments, q.device), wish.window)(at, at, at[:, None], at[None, :])
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    z = q @ k.transpose(-1, -2) * scale
    if wish.softcap is not None:
        z = wish.softcap * torch.tanh(z / wish.softcap)
    z = z.masked_fill(~seen, float("-inf"))
    if wish.sinks is not None:
        z = torch.cat([z, wish.sinks[None, :, None, None].expand(*z.shape[:3], 1)], -1)
    return torch.softmax(z, -1)[..., : q.shape[2]] @ v
