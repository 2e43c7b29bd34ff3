"""Kahneman-Tversky Optimization, for responses that are each desirable or not."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.labels import class_metrics, desirable
from prefine.registry import objectives


@objectives.register("kto")
class KTO(Objective):
    """Utility of each response relative to a point that the policy's KL to the reference sets.

    Formula: desirable_weight (1 - sigmoid(beta (u - z0))) or undesirable_weight (1 - sigmoid(beta (z0 - u))),
    u = logp - ref, z0 = max(0, mean u of responses to other prompts), detached
    Paper: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8
    Defaults: beta 0.1 (sane 0.01 to 0.5), weights 1 (desirable_weight n_d / (undesirable_weight n_u) in 1 to 4/3);
    learning rate 5e-7 to 1e-6
    Scope: z0 is one number for the global batch, of all micro-batches and processes
    Disagreements: HALOs divides the KL's sum by the number of non-zero rewards, TRL averages the means of processes
    """

    group_size: ClassVar[int | None] = None
    needs_reference: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    needs_mismatched: bool = True
    coupled: bool = True

    def __init__(
        self,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        z0: Literal["rotate", "zero"] = "rotate",
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if desirable_weight < 0 or undesirable_weight < 0:
            raise ValueError(f"weights must not be negative, not {desirable_weight} and {undesirable_weight}")
        self.beta, self.desirable_weight, self.undesirable_weight = beta, desirable_weight, undesirable_weight
        self.z0 = z0
        self.needs_mismatched = z0 == "rotate"

    def weight(self, lengths: Tensor) -> Tensor:
        return torch.full((len(lengths),), float(lengths.shape[1]), device=lengths.device)

    def forward(self, responses: Responses) -> Output:
        u, good = responses.ratios, desirable(responses)
        point_good, point_bad = self.reference_points(u.detach(), good, responses)
        sign = torch.where(good, 1.0, -1.0).to(u.dtype)
        gain = self.beta * sign * (u - torch.where(good, point_good, point_bad))
        weight = torch.where(good, self.desirable_weight, self.undesirable_weight).to(u.dtype)
        each = weight * (-gain).sigmoid()
        metrics = class_metrics(self.beta * u, good, responses)
        metrics["kl/z0"] = point_good.expand(len(u))
        return Output(each.mean(1), metrics)

    def reference_points(self, u: Tensor, good: Tensor, responses: Responses) -> tuple[Tensor, Tensor]:
        """z0 of desirable and of undesirable responses, in nats."""
        if self.z0 == "zero":
            return u.new_zeros(()), u.new_zeros(())
        assert responses.kl_logps is not None and responses.kl_ref_logps is not None
        point = (responses.kl_logps - responses.kl_ref_logps).detach().mean().clamp(min=0.0)
        return point, point

    def start_loss(self) -> float | None:
        same = self.desirable_weight == self.undesirable_weight
        return 0.5 * self.desirable_weight if same else None


@objectives.register("kto_pair")
class KTOPair(KTO):
    """KTO on pairs whose reference point is the mean log-ratio of the batch's other half.

    Formula: as kto, with z0 of chosen responses from the rejected ones of the batch, and the other way round
    Paper: Ethayarajh et al. 2024, arXiv:2402.01306, as first released; in TRL up to 0.8 and CustomPOs
    Defaults: beta 0.1
    Scope: both means are over the global batch
    Disagreements: the others return two losses for each pair; here the pair's mean, which has the same mean
    """

    group_size: ClassVar[int | None] = 2
    needs_labels: ClassVar[bool] = False

    def __init__(self, beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> None:
        super().__init__(beta, desirable_weight, undesirable_weight, z0="zero")

    def weight(self, lengths: Tensor) -> Tensor:
        return torch.ones(len(lengths), device=lengths.device)

    def reference_points(self, u: Tensor, good: Tensor, responses: Responses) -> tuple[Tensor, Tensor]:
        return u[:, 1].mean().clamp(min=0.0), u[:, 0].mean().clamp(min=0.0)
