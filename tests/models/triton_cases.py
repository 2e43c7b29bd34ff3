"""The Triton tiles beside the plain ones, case by case, in Triton's interpreter: prints one JSON line of errors each.

python triton_cases.py, with TRITON_INTERPRET=1 set before Triton is imported, or PREFINE_TEST_DEVICE=cuda
"""

from __future__ import annotations

import itertools
import json
import os

import torch

from prefine.models import head as heads
from prefine.models.head import WITH_SLOPE, WITHOUT, Head, row_statistics
from prefine.models.tiles import PlainTiles
from prefine.models.tiles_triton import TritonTiles

DEVICE = os.environ.get("PREFINE_TEST_DEVICE", "cpu")
NAMES = {"logps": {"logps"}, "all": WITH_SLOPE | WITHOUT}
SHAPES = {"plain": (1.0, None), "scaled": (0.25, None), "capped": (2.0, 3.0)}
SIZES = [(21, 31), (3, 50)]
CASES = [
    (size, bool(i & 1), shape, names, bool(i & 2), dtype)
    for i, (size, shape, dtype, names) in enumerate(
        itertools.product(SIZES, SHAPES, (torch.float32, torch.bfloat16), NAMES)
    )
]
"""Biases and frozen weights with some of all other settings."""


def found(tiles, rows, vocabulary, bias, shape, names, frozen, dtype):
    """Statistics and gradients, the rows and columns of the tiles ragged."""
    torch.manual_seed(0)
    hidden = (2 * torch.randn(rows, 8)).to(DEVICE, dtype).requires_grad_()
    weight = torch.randn(vocabulary, 8).to(DEVICE, dtype).requires_grad_(not frozen)
    added = torch.randn(vocabulary).to(DEVICE).requires_grad_(not frozen) if bias else None
    labels = torch.randint(0, vocabulary, (rows,)).to(DEVICE)
    out = row_statistics(hidden, Head(weight, added, *SHAPES[shape], tiles=tiles), labels, names)
    coefficients = {name: torch.randn(rows).to(DEVICE) for name in sorted(out)}
    sum((out[name] * coefficients[name]).sum() for name in sorted(WITH_SLOPE & out.keys())).backward()
    leaves = {"hidden": hidden, "weight": weight, "bias": added}
    grads = {f"by {name}": x.grad for name, x in leaves.items() if x is not None and x.requires_grad}
    return {**{k: v.detach() for k, v in out.items()}, **grads}


def main() -> None:
    torch.set_num_threads(1)
    for size, bias, shape, names, frozen, dtype in CASES:
        for name in (DEVICE, "cpu"):
            heads.ROWS_IN_TILE[name], heads.LOGITS_IN_CHUNK[name] = 16, 16 * 20
            heads.KEPT_BYTES[name] = 10 * size[1] * dtype.itemsize
        case = (*size, bias, shape, NAMES[names], frozen, dtype)
        want, got = found(PlainTiles(), *case), found(TritonTiles(), *case)
        errors = {}
        for name, value in want.items():
            wide = value.double()
            away = (got[name].double() - wide).abs().max() / wide.abs().max().clamp(min=1.0)
            errors[name] = float(away) if got[name].dtype == value.dtype else float("inf")
        said = [f"{size[0]}x{size[1]}", shape, names, "bias" * bias, "frozen" * frozen, str(dtype)[6:]]
        print(json.dumps({"case": " ".join(filter(None, said)), "errors": errors}))


if __name__ == "__main__":
    main()
