"""Checks, before training, of what may never have run on such a machine: kernels of the head, gradients of trees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from prefine.models.head import WITH_SLOPE, WITHOUT, Head, row_statistics
from prefine.models.tiles import PlainTiles, Tiles

ROWS = 64
"""Rows of the user's own hidden states that kernels are compared on, at most."""


def fastest_tiles(hidden: Tensor, head: Head, labels: Tensor) -> tuple[Tiles, str | None]:
    """Triton's kernels for the head where there is a GPU for them and they are right, and why they are not taken."""
    if hidden.device.type != "cuda" or hidden.dtype == torch.float64:
        return PlainTiles(), None
    try:
        from prefine.models.tiles_triton import TritonTiles
    except ImportError:
        return PlainTiles(), "Triton is not installed"
    wrong = wrong_tiles(TritonTiles(), hidden, head, labels)
    return (TritonTiles(), None) if wrong is None else (PlainTiles(), wrong)


def wrong_tiles(tiles: Tiles, hidden: Tensor, head: Head, labels: Tensor) -> str | None:
    """What is wrong with tiles on a few rows, values and gradients beside those of plain PyTorch; None if nothing is.

    hidden: (n, H) final hidden states, labels: (n,).
    """
    rounds = hidden.dtype not in (torch.float32, torch.float64)
    try:
        for names in ({"logps"}, WITH_SLOPE | WITHOUT):
            runs = [_run(t, hidden[:ROWS], head, labels[:ROWS], names) for t in (PlainTiles(), tiles)]
            for name, want in runs[0].items():
                slack = 3e-2 if rounds and name == "gradient" else 1e-3
                away = (runs[1][name] - want).norm()
                if not bool(away <= slack * want.norm().clamp(min=1e-6)) and name != "hits":
                    return f"Triton's {name} are not those of plain PyTorch"
    # A compiler on hardware it was never tried on may fail in any way.
    except Exception as error:
        return f"Triton's kernels do not run here ({type(error).__name__})"
    return None


def _run(tiles: Tiles, hidden: Tensor, head: Head, labels: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    leaf = hidden.detach().clone().requires_grad_()
    bias = None if head.bias is None else head.bias.detach()
    frozen = replace(head, weight=head.weight.detach(), bias=bias, tiles=tiles, room=None)
    with torch.enable_grad():
        out = row_statistics(leaf, frozen, labels, names)
        coefficients = torch.linspace(-1, 1, len(labels), device=leaf.device)
        total = sum(((i + 1) * out[n] * coefficients).sum() for i, n in enumerate(sorted(WITH_SLOPE & out.keys())))
        assert isinstance(total, Tensor)
        (gradient,) = torch.autograd.grad(total, leaf)
    return {**{k: v.detach().float() for k, v in out.items()}, "gradient": gradient.float()}


MATRICES = 8
"""Trained matrices whose gradients are compared: the first ones, through which the gradient of all layers has gone."""


def slopes(logps: Callable[[], Tensor], weights: Sequence[Tensor]) -> Tensor:
    """One vector: the gradient by some weights of a mixture of the log-probs that a layout gives."""
    with torch.enable_grad():
        found = logps()
        mixture = (found * torch.linspace(-1, 1, len(found), device=found.device)).sum()
        grads = torch.autograd.grad(mixture, weights, allow_unused=True)
    flat = [w.new_zeros(w.numel()) if g is None else g.flatten() for w, g in zip(weights, grads, strict=True)]
    return torch.cat([f.float() for f in flat])
