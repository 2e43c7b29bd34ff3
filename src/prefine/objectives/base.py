"""What an objective is: numbers in, one loss per example out. It never sees a model, a tokenizer or a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass
class Responses:
    """B examples with K responses each, chosen (or best) first.

    logps: (B, K) summed log-probs under the policy, nats. lengths: (B, K) trained tokens. ref_logps: (B, K) under the
    frozen
    start model, for objectives that need a reference. scores: (B, K) from the labelers, higher is better, for those
    that need
    scores.
    """

    logps: Tensor
    lengths: Tensor
    ref_logps: Tensor | None = None
    scores: Tensor | None = None


class Objective(nn.Module):
    """Turns response log-probs into one loss per example.

    Settings are the constructor's arguments, state is in buffers (saved with every checkpoint). The training loop
    reads the
    declarations below and provides what is needed; it never asks for a name.
    """

    group_size: ClassVar[int | None] = 2
    """Responses per example: 1, 2, or None for any number from two on."""
    max_group_size: ClassVar[int | None] = None
    """Most responses per example that the objective can take, where it has such a limit."""
    needs_reference: ClassVar[bool] = False
    needs_scores: ClassVar[bool] = False

    def weight(self, lengths: Tensor) -> Tensor:
        """(B,) share of each example in the mean over the global batch, from lengths (B, K) alone."""
        return torch.ones(len(lengths), device=lengths.device)

    def forward(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses (B,) and metrics, each (B,), to be averaged over examples."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def start_loss(self) -> float | None:
        """The loss where the policy is the reference, if it has one value for all data; checked at step 0."""
        return None


def pair_metrics(rewards: Tensor, responses: Responses) -> dict[str, Tensor]:
    """The field's metrics of pairs. rewards: (B, 2), chosen first. A tie is not counted as right, and counted apart."""
    chosen, rejected = rewards.detach().float().unbind(1)
    logps, lengths = responses.logps.detach(), responses.lengths
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/ties": (chosen == rejected).float(),
        "logps/chosen": logps[:, 0],
        "logps/rejected": logps[:, 1],
        "lengths/chosen": lengths[:, 0].float(),
        "lengths/rejected": lengths[:, 1].float(),
    }
