"""Efficient exact optimization."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from prefine.objectives.pairwise import Margin, start_value
from prefine.registry import objectives


@objectives.register("exo", "exo_pair")
class EXO(Margin):
    """Reverse KL from the policy's preference to the (softened) label; it seeks the mode, as the RL objective does.

    Formula: KL(Bernoulli(sigmoid(z)) || Bernoulli(1 - e)), z = beta Delta
    Paper: Ji et al. 2024, arXiv:2402.00856, eq. 16
    Defaults: beta 0.1 (authors 0.5), label_smoothing 1e-3; the gradient vanishes for confidently wrong pairs, so start
    from an SFT model
    Disagreements: without smoothing the loss is infinite; older TRL used 1e-3 without saying so, the authors' code has
    targets that do not add up to 1
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 1e-3, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if not 0 < label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in (0, 0.5), not {label_smoothing}; at 0 the loss is infinite")
        self.beta, self.label_smoothing = beta, label_smoothing

    def link(self, z: Tensor) -> Tensor:
        e = self.label_smoothing
        right, wrong = logsigmoid(z), logsigmoid(-z)
        return right.exp() * (right - math.log1p(-e)) + wrong.exp() * (wrong - math.log(e))

    def start_loss(self) -> float | None:
        return start_value(self)
