"""Noise contrastive alignment of pairs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Responses
from prefine.objectives.pairwise import Pair
from prefine.registry import objectives


@objectives.register("nca", "nca_pair")
class NCA(Pair):
    """Each response by itself is told from noise, which keeps the chosen response's likelihood from falling.

    Formula: -log sigmoid(r_c) - 1/2 log sigmoid(-r_c) - 1/2 log sigmoid(-r_r), r = beta (logp - ref)
    Paper: Chen et al. 2024, arXiv:2402.05369, eq. 12; lists with soft targets: nca_list, info_nca
    Defaults: beta 0.01
    """

    needs_reference: ClassVar[bool] = True
    accepts_f_divergence: ClassVar[bool] = False

    def __init__(self, beta: float = 0.01, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        self.beta = beta

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        chosen, rejected = (self.beta * scores).unbind(1)
        return softplus(-chosen) + 0.5 * softplus(chosen) + 0.5 * softplus(rejected), {}

    def start_loss(self) -> float | None:
        return 2 * math.log(2) if self.starts_at_reference else None
