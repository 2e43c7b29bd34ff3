"""Small numerically safe functions that objectives share."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

MAX_EXPONENT = 80.0
"""exp of more overflows float32, the least precise type that objectives compute in."""


def logistic(z: Tensor, smoothing: float = 0.0) -> Tensor:
    """-(1 - e) log sigmoid(z) - e log sigmoid(-z)."""
    if smoothing == 0.0:
        return softplus(-z)
    return (1 - smoothing) * softplus(-z) + smoothing * softplus(z)


def clamped_exp(x: Tensor) -> Tensor:
    """exp(x) with x cut at `MAX_EXPONENT`, beyond which the gradient is zero."""
    return x.clamp(max=MAX_EXPONENT).exp()


def log1mexp(a: Tensor) -> Tensor:
    """log(1 - exp(a)) for a < 0, accurate at both ends. Mächler 2012, "Accurately computing log(1 - exp(-|a|))"."""
    near = a > -math.log(2)
    # Each branch sees only arguments of its own, so that no gradient of the other one is infinite.
    small = torch.where(near, a, -torch.ones_like(a))
    large = torch.where(near, -torch.ones_like(a), a)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
