"""Preference-Aligned Distillation."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.plackett_luce import (
    all_orders_logp,
    combinations,
    jensen_shannon,
    list_metrics,
    order_entropy,
    order_kl,
    ranking_nll,
    stages,
)
from prefine.registry import objectives

ENUMERATED = 6
"""Most items whose orders are listed: 6! = 720."""


@objectives.register("pad")
class PAD(Objective):
    """PAD: the student's distribution over the orders of its responses is trained towards the teacher's.

    Formula: ppd D(PL(teacher_beta t), PL(beta s)); vpd -log PL(scores' order | beta s), averaged over tied orders;
    s = logp / n, t = alpha (teacher's logp / n) + (1 - alpha) score, within 20 / teacher_beta of its median
    Paper: Preference-Aligned Distillation, arXiv:2502.14272
    Defaults: beta 10 (sane 2 to 10), teacher_beta 1 (1 to 2; a large one saturates, and the Jensen-Shannon divergence
    then gives no gradient on confidently wrong rows), alpha 0; learning rate 8e-7 for all weights, 5e-6 for LoRA

    divergence: jsd; fkl KL(teacher || student); rkl KL(student || teacher); jsd_released, the form of the authors' code
    with the mixture as first argument, for replication. The KLs are exact up to 12 responses. The Jensen-Shannon forms
    list all orders of up to 6; beyond, or where subset_size is given, they are the mean over all subsets of that size
    (default 3), or over num_subsets random ones of each example. Those are drawn by subset_seed and the example's
    number of tokens, so that they depend on neither the batch nor the step. The scale of the loss, and so the learning
    rate, changes with the size.
    Disagreements: the authors' code also mixes over the rows of a batch, and weights examples by their tokens
    (example_weighting); its beta, 10, is the teacher's as well
    """

    group_size: ClassVar[int | None] = None
    max_group_size: ClassVar[int | None] = 12
    needs_scores: ClassVar[bool] = True

    def __init__(
        self,
        loss: Literal["ppd", "vpd"] = "ppd",
        divergence: Literal["jsd", "fkl", "rkl", "jsd_released"] | None = None,
        beta: float = 10.0,
        teacher_beta: float | None = None,
        alpha: float = 0.0,
        subset_size: int | None = None,
        num_subsets: int | None = None,
        subset_seed: int | None = None,
        example_weighting: Literal["uniform", "tokens"] = "uniform",
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if teacher_beta is not None and teacher_beta <= 0:
            raise ValueError(f"teacher_beta must be positive, not {teacher_beta}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], not {alpha}")
        if loss == "vpd" and divergence is not None:
            raise ValueError("divergence has no effect with loss: vpd, which is the NLL of one order")
        if loss == "vpd" and teacher_beta is not None:
            raise ValueError("teacher_beta has no effect with loss: vpd, which ranks by the scores")
        if loss == "vpd" and alpha > 0:
            raise ValueError("alpha has no effect with loss: vpd, which ranks by the scores alone")
        if subset_size is not None and (loss == "vpd" or divergence in ("fkl", "rkl")):
            raise ValueError("subset_size has no effect without a Jensen-Shannon divergence; the others are exact")
        if subset_size is not None and not 2 <= subset_size <= 6:
            raise ValueError(f"subset_size must be from 2 to 6, not {subset_size}")
        if num_subsets is not None and subset_size is None:
            raise ValueError("num_subsets has no effect without subset_size")
        if num_subsets is not None and num_subsets < 1:
            raise ValueError(f"num_subsets must be at least 1, not {num_subsets}")
        if subset_seed is not None and num_subsets is None:
            raise ValueError("subset_seed has no effect without num_subsets")
        self.loss, self.divergence, self.beta = loss, divergence or "jsd", beta
        self.teacher_beta, self.alpha = 1.0 if teacher_beta is None else teacher_beta, alpha
        self.subset_size, self.num_subsets, self.subset_seed = subset_size, num_subsets, subset_seed or 0
        self.example_weighting = example_weighting
        self.needs_teacher_logps = alpha > 0

    def weight(self, lengths: Tensor) -> Tensor:
        return lengths.sum(1).float() if self.example_weighting == "tokens" else super().weight(lengths)

    def forward(self, responses: Responses) -> Output:
        assert responses.scores is not None
        student = self.beta * responses.averages
        if self.loss == "vpd":
            losses = ranking_nll(student, responses.scores)
            return Output(losses, self._metrics(student.detach(), responses.scores, responses))
        teacher = self.teacher_beta * self._teacher(responses)
        if self.divergence == "fkl":
            losses = order_kl(stages(teacher), stages(student))
        elif self.divergence == "rkl":
            losses = order_kl(stages(student), stages(teacher))
        else:
            losses = self._over_orders(self.divergence, teacher, student, responses.lengths)
        known = losses.detach() if self.divergence == "jsd" else None
        metrics = self._metrics(student.detach(), teacher, responses)
        return Output(losses, {**metrics, **self._divergences(teacher, student.detach(), responses.lengths, known)})

    def _teacher(self, responses: Responses) -> Tensor:
        """(B, K) the teacher's scores, cut around their median so that one outlier does not level the rest."""
        t = responses.scores
        assert t is not None
        if self.alpha > 0:
            assert responses.teacher_logps is not None
            t = self.alpha * responses.teacher_logps + (1 - self.alpha) * t
        reach = 20 / self.teacher_beta
        return (t - t.median(1, keepdim=True).values).clamp(-reach, reach)

    def _over_orders(self, form: str, teacher: Tensor, student: Tensor, lengths: Tensor) -> Tensor:
        """(B,) the divergence over all orders, or its mean over subsets of the responses."""
        n = student.shape[1]
        k = min(n, self.subset_size or (n if n <= ENUMERATED else 3))
        if k < n:
            subsets = self._subsets(n, k, lengths)
            teacher, student = (x.gather(1, subsets.flatten(1)).view(subsets.shape) for x in (teacher, student))
        p, q = all_orders_logp(teacher), all_orders_logp(student)
        values = jensen_shannon(p, q) if form == "jsd" else released_jensen_shannon(p, q)
        return values.mean(-1) if k < n else values

    def _subsets(self, n: int, k: int, lengths: Tensor) -> Tensor:
        """(B, subsets, k) indices of responses."""
        table = combinations(n, k)
        if self.num_subsets is None or self.num_subsets >= len(table):
            return table.to(lengths.device).expand(len(lengths), -1, -1)
        drawn = []
        for tokens in lengths.sum(1).tolist():
            generator = torch.Generator().manual_seed((self.subset_seed * 0x9E3779B1 + int(tokens)) % 2**32)
            drawn.append(torch.randperm(len(table), generator=generator)[: self.num_subsets])
        return table[torch.stack(drawn)].to(lengths.device)

    @torch.no_grad()
    def _divergences(self, teacher: Tensor, student: Tensor, lengths: Tensor, jsd: Tensor | None) -> dict[str, Tensor]:
        p, q = stages(teacher), stages(student)
        jsd = self._over_orders("jsd", teacher, student, lengths) if jsd is None else jsd
        return {
            "pad/jsd": jsd,
            "pad/fkl": order_kl(p, q),
            "pad/rkl": order_kl(q, p),
            "pad/teacher_entropy": order_entropy(p),
            "pad/saturated": (jsd > 0.95 * math.log(2)).to(jsd.dtype),
        }

    @torch.no_grad()
    def _metrics(self, student: Tensor, teacher: Tensor, responses: Responses) -> dict[str, Tensor]:
        return {
            **list_metrics(student, teacher, responses, "pad"),
            "pad/student_entropy": order_entropy(stages(student)),
        }


def released_jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(KL(M || P) + KL(M || Q)) / 2 with M their mixture, as the authors' code computes it row by row; unbounded."""
    mixture = torch.logaddexp(log_p, log_q) - math.log(2)
    return (mixture.exp() * (mixture - 0.5 * (log_p + log_q))).sum(-1)
