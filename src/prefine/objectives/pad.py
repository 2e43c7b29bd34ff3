"""Preference-Aligned Distillation."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Responses
from prefine.objectives.plackett_luce import all_orders_logp, jensen_shannon, order_logp, permutations
from prefine.registry import objectives


@objectives.register("pad")
class PAD(Objective):
    """PAD: the student's distribution over the orders of its responses is trained towards the teacher's.

    Formula: ppd JSD(PL(teacher_beta t), PL(beta s)); vpd -log PL(teacher's order | beta s); s = logp / n, t the
    teacher's score
    Paper: Preference-Aligned Distillation, arXiv:2502.14272
    Defaults: beta 10 (sane 2 to 10), teacher_beta 1 (a large one saturates), up to 6 responses by enumeration of orders
    Disagreements: the released code swaps the KL arguments and mixes the batch; this is the true Jensen-Shannon
    divergence
    """

    group_size: ClassVar[int | None] = None
    max_group_size: ClassVar[int | None] = 6
    needs_scores: ClassVar[bool] = True

    def __init__(self, loss: Literal["ppd", "vpd"] = "ppd", beta: float = 10.0, teacher_beta: float = 1.0) -> None:
        super().__init__()
        if beta <= 0 or teacher_beta <= 0:
            raise ValueError(f"beta and teacher_beta must be positive, not {beta} and {teacher_beta}")
        self.loss, self.beta, self.teacher_beta = loss, beta, teacher_beta

    def forward(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        assert responses.scores is not None
        student = responses.logps / responses.lengths
        teacher = responses.scores
        if self.loss == "vpd":
            losses = tied_order_nll(self.beta * student, teacher)
        else:
            losses = jensen_shannon(all_orders_logp(self.teacher_beta * teacher), all_orders_logp(self.beta * student))
        return losses, self._metrics(losses.detach(), student.detach(), teacher, responses)

    def _metrics(self, losses: Tensor, student: Tensor, teacher: Tensor, responses: Responses) -> dict[str, Tensor]:
        best, worst = teacher.argmax(1, keepdim=True), teacher.argmin(1, keepdim=True)
        rewards = self.beta * student
        chosen, rejected = rewards.gather(1, best).squeeze(1), rewards.gather(1, worst).squeeze(1)
        logps, lengths = responses.logps.detach(), responses.lengths.float()
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (chosen > rejected).float(),
            "logps/chosen": logps.gather(1, best).squeeze(1),
            "logps/rejected": logps.gather(1, worst).squeeze(1),
            "lengths/chosen": lengths.gather(1, best).squeeze(1),
            "lengths/rejected": lengths.gather(1, worst).squeeze(1),
            "pad/top1_agree": (student.argmax(1) == teacher.argmax(1)).float(),
        }
        if self.loss == "ppd":
            metrics["pad/saturated"] = (losses > 0.95 * math.log(2)).float()
        return metrics


def tied_order_nll(student: Tensor, teacher: Tensor) -> Tensor:
    """-log PL of the teacher's descending order, averaged over the orders that agree with it where it has ties.

    student, teacher: (B, K) -> (B,). Which of two equal scores the sort puts first therefore decides nothing.
    """
    orders = permutations(student.shape[-1]).to(student.device)
    ranked = teacher[:, orders]
    consistent = (ranked[..., :-1] >= ranked[..., 1:]).all(-1)
    nll = -order_logp(student[:, orders])
    return torch.where(consistent, nll, 0.0).sum(-1) / consistent.sum(-1)
