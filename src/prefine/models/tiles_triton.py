"""The work on tiles of logits as two Triton kernels: one pass over the products for all sums, one for the slope.

The matrix products stay those of the device's own library, which is as fast as it gets; what is fused is all between
them. Every row of a tile is a program of its own; sums run in float32.
"""

from __future__ import annotations

from typing import Any, cast

import triton
import triton.language as tl
from torch import Tensor

from prefine.models.tiles import Shape, Tiles

BLOCK = 2048
"""Columns that a program holds at a time, at most."""


class TritonTiles(Tiles):
    """For products in bfloat16, float16 or float32 on a GPU (or on a CPU, in Triton's interpreter)."""

    def add(self, product: Tensor, start: int, labels: Tensor, table: Tensor, shape: Shape) -> None:
        rows, width = product.shape
        bias = None if shape.bias is None else shape.bias[start:]
        cast(Any, _add)[(rows,)](
            product,
            labels,
            labels if bias is None else bias,
            table,
            start,
            width,
            product.stride(0),
            labels.stride(0),
            table.stride(0),
            shape.scale,
            shape.softcap or 0.0,
            BIASED=bias is not None,
            CAPPED=shape.softcap is not None,
            WHOLE=len(table) > 2,
            BLOCK=_block(width),
        )

    def slope(self, product: Tensor, start: int, labels: Tensor, norm: Tensor, mix: Tensor, shape: Shape) -> Tensor:
        rows, width = product.shape
        block = _block(width)
        bias = None if shape.bias is None else shape.bias[start:]
        cast(Any, _slope)[(rows, -(-width // block))](
            product,
            labels,
            labels if bias is None else bias,
            norm,
            mix,
            start,
            width,
            product.stride(0),
            labels.stride(0),
            norm.stride(0),
            mix.stride(0),
            shape.scale,
            shape.softcap or 0.0,
            BIASED=bias is not None,
            CAPPED=shape.softcap is not None,
            LIFTED=len(mix) > 2,
            BLOCK=block,
        )
        return product


def _block(width: int) -> int:
    return min(BLOCK, 1 << (width - 1).bit_length())


@triton.jit
def _tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    return tl.where(x < 0, -1.0, 1.0) * (1.0 - e) / (1.0 + e)


@triton.jit
def _logits(product, bias, cols, inside, scale, cap, BIASED: tl.constexpr, CAPPED: tl.constexpr):
    """Logits of some columns of one row; minus infinity outside."""
    z = tl.load(product + cols, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        z += tl.load(bias + cols, mask=inside, other=0.0).to(tl.float32)
    z *= scale
    if CAPPED:
        z = cap * _tanh(z / cap)
    return tl.where(inside, z, float("-inf"))


@triton.jit
def _logaddexp(a, b):
    top = tl.maximum(a, b)
    return top + tl.log(tl.exp(a - top) + tl.exp(b - top))


@triton.jit
def _add(
    product,
    labels,
    bias,
    table,
    start,
    width,
    product_stride,
    label_stride,
    table_stride,
    scale,
    cap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
    WHOLE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row * label_stride) - start
    product += row * product_stride
    top, where, hit = -1e30, 0, 0.0
    mass, total, first, second = 0.0, 0.0, 0.0, 0.0
    for at in range(0, width, BLOCK):
        cols = at + tl.arange(0, BLOCK)
        inside = cols < width
        z = _logits(product, bias, cols, inside, scale, cap, BIASED, CAPPED)
        hit += tl.sum(tl.where(cols == label, z, 0.0), 0)
        highest = tl.max(z, 0)
        raised = tl.maximum(top, highest)
        shrunk = tl.exp(top - raised)
        weight = tl.exp(z - raised)
        if WHOLE:
            # first: the sum of weight * (z - top), to which a higher top adds its rise for all the mass there is.
            first = shrunk * (first + mass * (top - raised))
            first += tl.sum(tl.where(inside & (z > float("-inf")), weight * (z - raised), 0.0), 0)
            second = second * shrunk * shrunk + tl.sum(weight * weight, 0)
            total += tl.sum(tl.where(inside, z, 0.0), 0)
            where = tl.where(highest > top, at + tl.argmax(z, 0), where)
        mass = mass * shrunk + tl.sum(weight, 0)
        top = raised
    table += row
    if (label >= 0) & (label < width):
        tl.store(table + table_stride, hit)
    here = top + tl.log(mass)
    before = tl.load(table)
    norm = _logaddexp(before, here)
    tl.store(table, norm)
    if WHOLE:
        share = tl.exp(here - norm)
        entropy = tl.log(mass) - first / mass
        overlap = tl.log(second) - 2.0 * tl.log(mass)
        old = tl.load(table + 3 * table_stride)
        tl.store(table + 3 * table_stride, (1.0 - share) * (old + norm - before) + share * (entropy + norm - here))
        old = tl.load(table + 4 * table_stride) + 2.0 * (before - norm)
        tl.store(table + 4 * table_stride, _logaddexp(old, overlap + 2.0 * (here - norm)))
        tl.store(table + 2 * table_stride, tl.load(table + 2 * table_stride) + total)
        old = tl.load(table + 5 * table_stride)
        if top > old:
            tl.store(table + 5 * table_stride, top)
            tl.store(table + 6 * table_stride, (where + start).to(tl.float32))


@triton.jit
def _slope(
    product,
    labels,
    bias,
    norm,
    mix,
    start,
    width,
    product_stride,
    label_stride,
    norm_stride,
    mix_stride,
    scale,
    cap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
    LIFTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = cols < width
    label = tl.load(labels + row * label_stride) - start
    product += row * product_stride
    z = _logits(product, bias, cols, inside, scale, cap, BIASED, CAPPED)
    mix += row
    d = tl.load(mix + mix_stride) * tl.exp(z - tl.load(norm + row * norm_stride))
    d += tl.where(cols == label, tl.load(mix), 0.0)
    if LIFTED:
        d += tl.load(mix + 2 * mix_stride)
    if CAPPED:
        d *= 1.0 - (z / cap) * (z / cap)
    d *= scale
    tl.store(product + cols, d.to(product.dtype.element_ty), mask=inside)
