"""Rank Responses to align Human Feedback."""

from __future__ import annotations

from typing import ClassVar

import torch

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.plackett_luce import best_mean, list_metrics
from prefine.registry import objectives


@objectives.register("rrhf")
class RRHF(Objective):
    """RRHF: a hinge without margin on every pair in the wrong order, and SFT on the best response.

    Formula: rank_weight sum_(i below j) max(0, s_i - s_j) - logp_best / n_best, s = logp / n^kappa
    Paper: Yuan et al. 2023, arXiv:2304.05302
    Defaults: kappa 1, rank_weight 1; learning rate 2e-5 for all weights
    Disagreements: the authors' class default for the weight is 100, their script sets 1; their NLL is a mean that
    includes padding

    Pairs are summed, not averaged; equal scores are not compared. Responses that share the highest score are all best,
    and their NLLs averaged.
    """

    group_size: ClassVar[int | None] = None
    needs_scores: ClassVar[bool] = True

    def __init__(self, kappa: float = 1.0, rank_weight: float = 1.0) -> None:
        super().__init__()
        if kappa < 0:
            raise ValueError(f"kappa must not be negative, not {kappa}")
        if rank_weight <= 0:
            raise ValueError(f"rank_weight must be positive, not {rank_weight}; without it this is sft")
        self.kappa, self.rank_weight = kappa, rank_weight

    def forward(self, responses: Responses) -> Output:
        scores = responses.scores
        assert scores is not None
        s = responses.logps / responses.lengths.to(responses.logps.dtype) ** self.kappa
        wrong = scores[:, :, None] < scores[:, None]
        rank = torch.where(wrong, (s[:, :, None] - s[:, None]).relu(), 0).sum((1, 2))
        nll = -best_mean(responses.averages, scores)
        terms = {"loss/rank": (self.rank_weight * rank).detach(), "loss/nll": nll.detach()}
        return Output(self.rank_weight * rank + nll, {**list_metrics(s, scores, responses), **terms})
