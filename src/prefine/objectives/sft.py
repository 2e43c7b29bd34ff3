"""Supervised fine-tuning."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Responses
from prefine.registry import objectives


@objectives.register("sft")
class SFT(Objective):
    """Negative log-likelihood of the response.

    Formula: token_mean -sum(logp) / sum(n); seq_mean mean_i(-logp_i / n_i); seq_sum mean_i(-logp_i)
    Paper: maximum likelihood; seq_sum is the reduction of the DPO authors' SFT stage, token_mean that of transformers
    Defaults: learning rate 1e-5 to 2e-5 for all weights, 1e-4 to 2e-4 for LoRA
    """

    group_size: ClassVar[int | None] = 1

    def __init__(self, reduction: Literal["token_mean", "seq_mean", "seq_sum"] = "token_mean") -> None:
        super().__init__()
        self.reduction = reduction

    def weight(self, lengths: Tensor) -> Tensor:
        return lengths[:, 0].float() if self.reduction == "token_mean" else torch.ones_like(lengths[:, 0]).float()

    def forward(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        total, length = -responses.logps[:, 0], responses.lengths[:, 0]
        losses = total if self.reduction == "seq_sum" else total / length
        return losses, {"nll": (total / length).detach(), "lengths/chosen": length.float()}
