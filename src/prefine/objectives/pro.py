"""Preference Ranking Optimization."""

from __future__ import annotations

from typing import ClassVar

import torch

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.plackett_luce import best_mean, list_metrics
from prefine.registry import objectives


@objectives.register("pro")
class PRO(Objective):
    """PRO: each response against all worse ones, with temperatures from the differences of scores, and SFT on the best.

    Formula: sum_k [logsumexp(T_kk s_k, {T_ki s_i}) - T_kk s_k] - nll_weight (n - 1)^2 logp_best, i the responses of
    lower scores, T_ki = r_k - r_i, T_kk = max_i T_ki, s = logp / n, r the scores
    Paper: Song et al. 2023, arXiv:2306.17492
    Defaults: nll_weight 0.05; learning rate 5e-6 for all weights. The scale of the scores is that of the temperatures;
    the paper's are of reward models
    Disagreements: the authors' mask drops the first token of a response, and equal scores add a constant; here they are
    not compared

    Responses that share the highest score are all best, and their NLLs averaged.
    """

    group_size: ClassVar[int | None] = None
    needs_scores: ClassVar[bool] = True

    def __init__(self, nll_weight: float = 0.05) -> None:
        super().__init__()
        if nll_weight < 0:
            raise ValueError(f"nll_weight must not be negative, not {nll_weight}")
        self.nll_weight = nll_weight

    def forward(self, responses: Responses) -> Output:
        scores = responses.scores
        assert scores is not None
        s, k = responses.averages, scores.shape[1]
        gaps = scores[:, :, None] - scores[:, None]
        own = s * gaps.amax(2)
        others = torch.where(gaps > 0, s[:, None] * gaps, -torch.inf)
        rank = (torch.cat([own[:, :, None], others], 2).logsumexp(2) - own).sum(1)
        nll = -self.nll_weight * (k - 1) ** 2 * best_mean(responses.logps, scores)
        terms = {"loss/rank": rank.detach(), "loss/nll": nll.detach()}
        return Output(rank + nll, {**list_metrics(s, scores, responses), **terms})
