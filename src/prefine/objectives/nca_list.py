"""Noise Contrastive Alignment with the scores of several responses."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.plackett_luce import list_metrics
from prefine.registry import objectives


class _ScoredList(Objective):
    group_size: ClassVar[int | None] = None
    needs_reference: ClassVar[bool] = True
    needs_scores: ClassVar[bool] = True

    def __init__(self, beta: float = 0.01, temperature: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.beta, self.temperature = beta, temperature

    def forward(self, responses: Responses) -> Output:
        assert responses.scores is not None
        rewards = self.beta * responses.ratios
        losses = self.contrast((responses.scores / self.temperature).softmax(1), rewards)
        return Output(losses, list_metrics(rewards, responses.scores, responses))

    def contrast(self, targets: Tensor, rewards: Tensor) -> Tensor:
        """(B,) from the targets' distribution over responses and the rewards, (B, K) each."""
        raise TypeError(f"{type(self).__name__} does not define contrast")


@objectives.register("nca_list")
class NCAList(_ScoredList):
    """NCA on lists: raises the rewards of good responses and holds those of all responses near the reference.

    Formula: -sum_k q_k log sigmoid(r_k) - (1/K) sum_k log sigmoid(-r_k), r = beta (logp - ref), q = softmax(score /
    temperature)
    Paper: Chen et al. 2024, arXiv:2402.05369
    Defaults: beta 0.01 (sane 0.01 to 0.1); temperature 1 (at small ones the best response alone counts); learning rate
    5e-6 for LoRA
    """

    def contrast(self, targets: Tensor, rewards: Tensor) -> Tensor:
        return (targets * softplus(-rewards)).sum(1) + softplus(rewards).mean(1)

    def start_loss(self) -> float | None:
        return 2 * math.log(2)


@objectives.register("info_nca")
class InfoNCA(_ScoredList):
    """InfoNCA: cross-entropy between the softmax of the scores and that of the rewards.

    Formula: -sum_k q_k log softmax(r)_k, r = beta (logp - ref), q = softmax(score / temperature); DPO for two responses
    and a temperature near zero
    Paper: Chen et al. 2024, arXiv:2402.05369
    Defaults: beta 0.01 (sane 0.01 to 0.1); temperature 1 (at small ones the best response alone counts); learning rate
    5e-6 for LoRA
    """

    def contrast(self, targets: Tensor, rewards: Tensor) -> Tensor:
        return -(targets * rewards.log_softmax(1)).sum(1)
