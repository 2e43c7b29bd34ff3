"""DPO under a known rate of flipped labels."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from prefine.objectives.links import logistic
from prefine.objectives.pairwise import Logistic, start_value
from prefine.registry import objectives


@objectives.register("robust")
class Robust(Logistic):
    """DPO whose expectation under labels flipped at the rate e is the loss of clean labels.

    Formula: [-(1-e) log sigmoid(z) + e log sigmoid(-z)] / (1 - 2e), z = beta Delta
    Paper: Chowdhury et al. 2024, arXiv:2403.00409
    Defaults: beta 0.1, label_smoothing 0.1 (sane up to 0.4); not bounded below, so stop by accuracy, not by loss
    Disagreements: TRL only warns of a rate of 0.5, where the loss is not defined
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.1, **modifiers: Any) -> None:
        super().__init__(beta, label_smoothing, **modifiers)

    def link(self, z: Tensor) -> Tensor:
        e = self.label_smoothing
        return ((1 - e) * logistic(z) - e * logistic(-z)) / (1 - 2 * e)

    def start_loss(self) -> float | None:
        return start_value(self)
