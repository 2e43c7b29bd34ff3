"""Direct Preference Optimization."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Objective, Responses, pair_metrics
from prefine.registry import objectives


@objectives.register("dpo")
class DPO(Objective):
    """Direct Preference Optimization; with label_smoothing, conservative DPO.

    Formula: -(1-e) log sigmoid(z) - e log sigmoid(-z), z = beta ((logp_c - ref_c) - (logp_r - ref_r))
    Paper: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; label smoothing: Mitchell 2023
    Defaults: beta 0.1 (sane 0.01 to 0.5); learning rate 5e-7 for all weights, 5e-6 for LoRA
    Disagreements: TRL from 0.29 on ignores label_smoothing for this loss; here it is applied
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if not 0 <= label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), not {label_smoothing}")
        self.beta, self.label_smoothing = beta, label_smoothing

    def forward(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        assert responses.ref_logps is not None
        rewards = self.beta * (responses.logps - responses.ref_logps)
        z, e = rewards[:, 0] - rewards[:, 1], self.label_smoothing
        return (1 - e) * softplus(-z) + e * softplus(z), pair_metrics(rewards, responses)

    def start_loss(self) -> float | None:
        return math.log(2)
