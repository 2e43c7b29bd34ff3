"""Anchored preference optimization."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.pairwise import Pair
from prefine.registry import objectives


@objectives.register("apo_zero")
class APOZero(Pair):
    """Raises chosen and lowers rejected responses; for chosen responses better than what the model writes.

    Formula: 1 - sigmoid(r_c) + sigmoid(r_r), r = beta (logp - ref)
    Paper: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 4
    Defaults: beta 0.1; learning rate 2e-7
    """

    needs_reference: ClassVar[bool] = True
    accepts_f_divergence: ClassVar[bool] = False

    def __init__(self, beta: float = 0.1, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        self.beta = beta

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        chosen, rejected = (self.beta * scores).unbind(1)
        return (-chosen).sigmoid() + rejected.sigmoid(), {}

    def start_loss(self) -> float | None:
        return 1.0 if self.starts_at_reference else None


@objectives.register("apo_down")
class APODown(APOZero):
    """Lowers both responses, the rejected one more; for chosen responses worse than what the model writes.

    Formula: sigmoid(r_c) + 1 - sigmoid(r_c - r_r), r = beta (logp - ref)
    Paper: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 5
    Defaults: beta 0.1; learning rate 2e-7
    Disagreements: TRL from 0.29 on mixes log-ratios and f-scores under an f-divergence, which is refused here
    """

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        chosen, rejected = (self.beta * scores).unbind(1)
        return chosen.sigmoid() + (rejected - chosen).sigmoid(), {}
