"""Binary Classifier Optimization."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.labels import class_mean, class_metrics, desirable
from prefine.registry import objectives


@objectives.register("bco")
class BCO(Objective):
    """A classifier of desirable against undesirable responses whose logit is the reward over a shifting threshold.

    Formula: -log sigmoid(r - delta) desirable, -log sigmoid(delta - r) undesirable, r = beta (logp - ref), detached
    delta = half the sum of the running means of r of the two classes
    Paper: Jung et al. 2024, arXiv:2404.04656, eq. 8
    Defaults: beta 0.1 (sane 0.01 to 0.1), momentum 0.9 with bias correction, updated before use, in training only
    Scope: the means are over the global batch
    Disagreements: TRL had a cumulative mean over all responses (delta `cumulative`), which differs when classes are
    unbalanced, and from 0.29 on none (delta `zero`)
    """

    group_size: ClassVar[int | None] = None
    needs_reference: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    coupled: bool = True
    sums_pairs: ClassVar[bool] = False
    running: Tensor

    def __init__(
        self,
        beta: float = 0.1,
        delta: Literal["ema", "cumulative", "zero"] = "ema",
        momentum: float | None = None,
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if momentum is not None and delta != "ema":
            raise ValueError("momentum has no effect without delta: ema")
        if momentum is not None and not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        self.beta, self.delta, self.momentum = beta, delta, 0.9 if momentum is None else momentum
        # Weighted sums of r and the sums of the weights, for desirable and undesirable responses.
        self.register_buffer("running", torch.zeros(2, 2, dtype=torch.float64))

    def weight(self, lengths: Tensor) -> Tensor:
        share = 1.0 if self.sums_pairs else float(lengths.shape[1])
        return torch.full((len(lengths),), share, device=lengths.device)

    def forward(self, responses: Responses) -> Output:
        rewards, good = self.beta * responses.ratios, desirable(responses)
        running = self._updated(rewards.detach().double(), good)
        if self.training:
            self.running.copy_(running)
        delta = self._threshold(running).to(rewards.dtype)
        sign = torch.where(good, 1.0, -1.0).to(rewards.dtype)
        each = softplus(-sign * (rewards - delta))
        metrics = {**class_metrics(rewards, good, responses), "bco/delta": delta.expand(len(rewards))}
        return Output(each.sum(1) if self.sums_pairs else each.mean(1), metrics)

    def _updated(self, rewards: Tensor, good: Tensor) -> Tensor:
        """The state after this batch. A class that the batch lacks keeps its mean."""
        out = self.running.clone()
        for i, chosen in enumerate((good, ~good)):
            mean = class_mean(rewards, chosen)
            if mean is None:
                continue
            if self.delta == "cumulative":
                count = chosen.sum().double()
                out[i] += torch.stack([mean * count, count])
            else:
                out[i] = self.momentum * out[i] + (1 - self.momentum) * torch.stack([mean, torch.ones_like(mean)])
        return out

    def _threshold(self, running: Tensor) -> Tensor:
        sums, weights = running.unbind(1)
        if self.delta == "zero":
            return sums.new_zeros(())
        if self.delta == "cumulative":
            return sums.sum() / weights.sum().clamp(min=1.0)
        means = torch.where(weights > 0, sums / weights.clamp(min=1e-12), 0.0)
        return means.sum() / (weights > 0).sum().clamp(min=1)

    def start_loss(self) -> float | None:
        return None


@objectives.register("bco_pair")
class BCOPair(BCO):
    """BCO on pairs: the losses of both responses added.

    Formula: -log sigmoid(r_c - delta) - log sigmoid(delta - r_r)
    Paper: Jung et al. 2024, arXiv:2404.04656
    Defaults: beta 0.1, momentum 0.9
    Scope: the means are over the global batch
    Disagreements: TRL from 0.29 on has delta zero, older ones a cumulative mean
    """

    group_size: ClassVar[int | None] = 2
    needs_labels: ClassVar[bool] = False
    sums_pairs: ClassVar[bool] = True
