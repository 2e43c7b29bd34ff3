"""DiscoPOP, a loss that a language model found."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from prefine.objectives.links import MAX_EXPONENT, clamped_exp, logistic
from prefine.objectives.pairwise import Margin, start_value
from prefine.registry import objectives

UPHILL = (-0.1186, 0.0720)
"""Between these z the loss grows with the margin, for tau = 0.05 (its stationary points)."""


@objectives.register("discopop")
class DiscoPOP(Margin):
    """Log-ratio modulated loss: logistic for small margins, exponential for large ones.

    Formula: (1 - k) (-log sigmoid(z)) + k exp(-z), k = sigmoid(z / tau), z = beta Delta
    Paper: Lu et al. 2024, arXiv:2406.08414
    Defaults: beta 0.05, tau 0.05
    Disagreements: none, but a property of the published loss: for z from -0.119 to 0.072, where training starts, it
    pushes the chosen response down; the share of such pairs is logged
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.05, tau: float = 0.05, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0 or tau <= 0:
            raise ValueError(f"beta and tau must be positive, not {beta} and {tau}")
        self.beta, self.tau = beta, tau

    def link(self, z: Tensor) -> Tensor:
        k = (z / self.tau).sigmoid()
        return (1 - k) * logistic(z) + k * clamped_exp(-z)

    def link_metrics(self, z: Tensor) -> dict[str, Tensor]:
        uphill = ((z > UPHILL[0]) & (z < UPHILL[1])).float()
        return {"discopop/uphill": uphill, "discopop/clamped": (-z > MAX_EXPONENT).float()}

    def start_loss(self) -> float | None:
        return start_value(self)
