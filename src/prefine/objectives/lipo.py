"""Listwise Preference Optimization."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.links import clamped_exp
from prefine.objectives.plackett_luce import list_metrics
from prefine.registry import objectives


@objectives.register("lipo")
class LiPO(Objective):
    """LiPO: learning to rank with log-ratios.

    Formula: lambda sum_(i above j) |2^y_i - 2^y_j| |1/log(1+r_i) - 1/log(1+r_j)| softplus(-(s_i - s_j)); pairs the same
    without weights; softmax -sum_i softmax(y)_i log softmax(s)_i; s = beta (logp - ref), y the scores, r the rank by s,
    detached
    Paper: Liu et al. 2024, arXiv:2402.01878
    Defaults: beta 0.1 (sane 0.01 to 0.5), weighting lambda, which expects graded scores of about 0 to 5, since it takes
    powers of 2; learning rate 5e-7 for all weights
    Disagreements: the paper does not name the base of the logarithm, which only scales the loss; the natural one here

    Pairs are summed, not averaged; equal scores are not compared. Where two s are equal, as at the start, the response
    with the higher score ranks first.
    """

    group_size: ClassVar[int | None] = None
    needs_reference: ClassVar[bool] = True
    needs_scores: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, weighting: Literal["lambda", "pairs", "softmax"] = "lambda") -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        self.beta, self.weighting = beta, weighting

    def forward(self, responses: Responses) -> Output:
        scores = responses.scores
        assert scores is not None
        s = self.beta * responses.ratios
        if self.weighting == "softmax":
            losses = -(scores.softmax(1) * s.log_softmax(1)).sum(1)
        else:
            pairs = softplus(s[:, None] - s[:, :, None])
            if self.weighting == "lambda":
                pairs = pairs * lambda_weights(s.detach(), scores)
            losses = torch.where(scores[:, :, None] > scores[:, None], pairs, 0).sum((1, 2))
        return Output(losses, list_metrics(s, scores, responses))


def lambda_weights(s: Tensor, scores: Tensor) -> Tensor:
    """(B, K, K) how much exchanging two items in the order of s changes the discounted gain."""
    ahead = s[:, None] > s[:, :, None]
    settled = (s[:, None] == s[:, :, None]) & (scores[:, None] > scores[:, :, None])
    listed = torch.ones_like(ahead[0]).tril(-1)
    alike = (s[:, None] == s[:, :, None]) & (scores[:, None] == scores[:, :, None]) & listed
    rank = 1 + (ahead | settled | alike).sum(-1).to(s.dtype)
    discount, gain = 1 / torch.log1p(rank), clamped_exp(scores * math.log(2))
    return (gain[:, :, None] - gain[:, None]).abs() * (discount[:, :, None] - discount[:, None]).abs()
