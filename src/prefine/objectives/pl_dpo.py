"""Direct Preference Optimization on ranked lists."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.plackett_luce import list_metrics, ranking_nll
from prefine.registry import objectives


@objectives.register("pl_dpo")
class PLDPO(Objective):
    """Plackett-Luce DPO: the likelihood of the scores' order; DPO for two responses.

    Formula: -sum_k [s_(k) - logsumexp(s_(k) .. s_(n))], s = beta (logp - ref), (k) the k-th by score
    Paper: Rafailov et al. 2023, arXiv:2305.18290, appendix A.3
    Defaults: beta 0.1 (sane 0.01 to 0.5), all stages; learning rate 5e-7 for all weights, 5e-6 for LoRA

    top_k: only the stages that choose the first top_k ranks. ties: `average` over the orders that agree with the
    scores; `skip` compares each response with those of lower scores alone.
    """

    group_size: ClassVar[int | None] = None
    max_group_size: ClassVar[int | None] = 12
    needs_reference: ClassVar[bool] = True
    needs_scores: ClassVar[bool] = True

    def __init__(
        self, beta: float = 0.1, top_k: int | None = None, ties: Literal["average", "skip"] = "average"
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        self.beta, self.top_k, self.ties = beta, top_k, ties

    def forward(self, responses: Responses) -> Output:
        assert responses.scores is not None
        rewards = self.beta * responses.ratios
        nll = ranking_nll if self.ties == "average" else untied_ranking_nll
        losses = nll(rewards, responses.scores, self.top_k)
        return Output(losses, list_metrics(rewards, responses.scores, responses))


def untied_ranking_nll(values: Tensor, scores: Tensor, top_k: int | None = None) -> Tensor:
    """-log P of the scores' descending order where items of equal scores are not compared; (B,)."""
    k = values.shape[1]
    rivals = (scores[:, None] < scores[:, :, None]) | torch.eye(k, dtype=torch.bool, device=values.device)
    stage = torch.where(rivals, values[:, None], -torch.inf).logsumexp(-1) - values
    rank = (scores[:, None] > scores[:, :, None]).sum(-1)
    return torch.where(rank < (top_k or k), stage, 0).sum(-1)
