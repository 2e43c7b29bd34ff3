"""Supervised fine-tuning."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Output, Responses
from prefine.registry import objectives


@objectives.register("sft")
class SFT(Objective):
    """Negative log-likelihood of the response.

    Formula: token_mean -sum(logp) / sum(n); seq_mean mean_i(-logp_i / n_i); seq_sum mean_i(-logp_i); of each token
    (1 - e) (-log p(y)) + e mean_v(-log p(v)) + z_loss (log normalizer)^2
    Paper: maximum likelihood; seq_sum is the reduction of the DPO authors' SFT stage, token_mean that of transformers
    Defaults: learning rate 1e-5 to 2e-5 for all weights, 1e-4 to 2e-4 for LoRA; label_smoothing e in [0, 0.1]
    Disagreements: transformers before 4.46 averaged the means of micro-batches; RRHF averages over padding
    """

    group_size: ClassVar[int | None] = 1

    def __init__(
        self,
        reduction: Literal["token_mean", "seq_mean", "seq_sum"] = "token_mean",
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        train_on_prompt: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {label_smoothing}")
        if z_loss < 0:
            raise ValueError(f"z_loss must not be negative, not {z_loss}")
        if train_on_prompt and (label_smoothing > 0 or z_loss > 0):
            raise ValueError("label_smoothing and z_loss are defined for responses only; leave train_on_prompt out")
        self.reduction, self.label_smoothing, self.z_loss = reduction, label_smoothing, z_loss
        self.train_on_prompt = train_on_prompt
        needed = {"smooth_logps": label_smoothing > 0, "z_squares": z_loss > 0, "prompt_logps": train_on_prompt}
        self.statistics = frozenset(name for name, wanted in needed.items() if wanted)

    def weight(self, lengths: Tensor) -> Tensor:
        return torch.ones_like(lengths[:, 0]).float()

    def forward(self, responses: Responses) -> Output:
        nll, length = -responses.logps[:, 0], responses.lengths[:, 0].to(responses.logps.dtype)
        total, mean_length = nll, responses.batch_mean_length
        metrics = {"nll": (nll / length).detach(), "nll/sum": nll.detach(), "lengths/chosen": length}
        if self.label_smoothing:
            assert responses.smooth_logps is not None
            total = (1 - self.label_smoothing) * total - self.label_smoothing * responses.smooth_logps[:, 0]
        if self.z_loss:
            assert responses.z_squares is not None
            total = total + self.z_loss * responses.z_squares[:, 0]
            metrics["loss/z"] = (self.z_loss * responses.z_squares[:, 0] / length).detach()
        if self.train_on_prompt:
            assert responses.prompt_logps is not None and responses.prompt_lengths is not None
            total, length = total - responses.prompt_logps, length + responses.prompt_lengths
            mean_length = responses.batch_mean_prompt_length
        if self.reduction == "token_mean":
            return Output(total / mean_length, metrics)
        return Output(total if self.reduction == "seq_sum" else total / length, metrics)

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        return {"perplexity": math.exp(min(700.0, means["nll/sum"] / means["lengths/chosen"]))}
