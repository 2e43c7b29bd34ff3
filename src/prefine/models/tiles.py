"""What a softmax over the vocabulary says of each row, from a tile of its logits at a time: in PyTorch, for any device.

A tile is some rows times some columns of hidden @ weight.T. Sums over the columns are joined from tile to tile, so that
no row of the vocabulary's length need exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

NORM, TARGET, TOTAL, ENTROPY, OVERLAP, TOP, WHERE = range(7)
"""Rows of a table of sums: logsumexp(z), z of the label, sum z, entropy, log sum p^2, max z and where it is."""
NOTHING = -1e30
"""The logarithm of a sum over no columns; finite, so that differences of it are."""


@dataclass(frozen=True)
class Shape:
    """How logits come from products: z = cap(scale * (product + bias)), cap(x) = softcap * tanh(x / softcap)."""

    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None


def empty_table(rows: int, like: Tensor, *, whole: bool) -> Tensor:
    """(2, n) for the norm and the label's logit alone, (7, n) for all sums, before the first column."""
    table = torch.zeros(7 if whole else 2, rows, dtype=exact(like.dtype), device=like.device)
    table[NORM] = NOTHING
    if whole:
        table[OVERLAP] = table[TOP] = NOTHING
    return table


class Tiles(ABC):
    """Work on one tile. product: (c, b), columns start to start + b of the vocabulary, in the type of computation;
    labels: (c,); the table's columns are the tile's rows."""

    @abstractmethod
    def add(self, product: Tensor, start: int, labels: Tensor, table: Tensor, shape: Shape) -> None:
        """Add the tile's columns to the sums."""

    @abstractmethod
    def slope(self, product: Tensor, start: int, labels: Tensor, norm: Tensor, mix: Tensor, shape: Shape) -> Tensor:
        """Gradient by the products, in their type, of something whose gradient by the logits is, for column v,
        mix[0] * [v is the label] + mix[1] * p_v, and + mix[2] where mix has it. mix: (2 or 3, c). The products may be
        overwritten."""


class PlainTiles(Tiles):
    """In plain PyTorch: what other ways are compared with."""

    def add(self, product: Tensor, start: int, labels: Tensor, table: Tensor, shape: Shape) -> None:
        z = logits(product, start, shape)
        at = labels - start
        inside = (at >= 0) & (at < z.shape[1])
        hit = z.gather(1, at.clamp(0, z.shape[1] - 1)[:, None]).squeeze(1)
        table[TARGET] = torch.where(inside, hit, table[TARGET])
        here, before = torch.logsumexp(z, -1), table[NORM].clone()
        table[NORM] = norm = torch.logaddexp(before, here)
        if len(table) > 2:
            _add_more(z, start, table, before, here, norm)

    def slope(self, product: Tensor, start: int, labels: Tensor, norm: Tensor, mix: Tensor, shape: Shape) -> Tensor:
        z = logits(product, start, shape)
        bent = None if shape.softcap is None else 1 - (z / shape.softcap) ** 2
        d = z.sub_(norm[:, None]).exp_().mul_(mix[1, :, None])
        if len(mix) > 2:
            d += mix[2, :, None]
        at = labels - start
        pull = torch.where((at >= 0) & (at < d.shape[1]), mix[0], 0.0)
        d.scatter_add_(1, at.clamp(0, d.shape[1] - 1)[:, None], pull[:, None])
        if bent is not None:
            d *= bent
        if shape.scale != 1.0:
            d *= shape.scale
        return d.to(product.dtype)


def _add_more(z: Tensor, start: int, table: Tensor, before: Tensor, here: Tensor, norm: Tensor) -> None:
    """Entropy and overlap relative to a tile's own norm first, so that neither is a difference of large numbers."""
    table[TOTAL] += z.sum(-1)
    logps = z - here[:, None]
    p = logps.exp()
    entropy, overlap = -(p * logps).sum(-1), torch.logsumexp(2 * logps, -1)
    share = (here - norm).exp()
    table[ENTROPY] = (1 - share) * (table[ENTROPY] + norm - before) + share * (entropy + norm - here)
    table[OVERLAP] = torch.logaddexp(table[OVERLAP] + 2 * (before - norm), overlap + 2 * (here - norm))
    top, where = z.max(-1)
    higher = top > table[TOP]
    table[WHERE] = torch.where(higher, (where + start).to(table.dtype), table[WHERE])
    table[TOP] = torch.where(higher, top, table[TOP])


def logits(product: Tensor, start: int, shape: Shape) -> Tensor:
    """The logits of a tile, in the type of `exact`."""
    bias = None if shape.bias is None else shape.bias[start : start + product.shape[1]]
    return finished(product.to(exact(product.dtype)), bias, shape.scale, shape.softcap)


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
