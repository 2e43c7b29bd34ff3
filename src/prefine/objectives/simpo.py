"""Simple Preference Optimization."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Objective, Responses, pair_metrics
from prefine.registry import objectives


@objectives.register("simpo")
class SimPO(Objective):
    """SimPO: length-averaged log-probs as rewards, a target margin, no reference.

    Formula: -log sigmoid(beta (logp_c / n_c - logp_r / n_r) - gamma)
    Paper: Meng et al. 2024, arXiv:2405.14734, eq. 6
    Defaults: beta 2 (sane 2 to 10), gamma 1 (gamma / beta 0.3 to 0.5); learning rate 3e-7 to 1e-6
    Disagreements: gamma is absolute as in the paper; the authors' code takes the ratio gamma / beta
    """

    def __init__(self, beta: float = 2.0, gamma: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, not {gamma}")
        self.beta, self.gamma = beta, gamma

    def forward(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        rewards = self.beta * responses.logps / responses.lengths
        return softplus(self.gamma - (rewards[:, 0] - rewards[:, 1])), pair_metrics(rewards, responses)
