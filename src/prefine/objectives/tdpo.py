"""Token-level DPO."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.links import logistic
from prefine.objectives.pairwise import Margin
from prefine.registry import objectives


@objectives.register("tdpo")
class TDPO(Margin):
    """DPO that also balances the sequential KL of chosen and rejected responses.

    Formula: -log sigmoid(beta (Delta - (K_r - K_c))) version 1; beta (Delta - alpha (K_r - detached K_c)) version 2;
    K = sum_t KL(ref || policy) over the vocabulary
    Paper: Zeng et al. 2024, arXiv:2404.11999, eq. 15 and 17
    Defaults: version 2, beta 0.1, alpha 0.5
    Disagreements: the authors' configuration says version 1, their function version 2; they take the logarithm of a
    softmax, which underflows
    """

    needs_reference: ClassVar[bool] = True
    accepts_f_divergence: ClassVar[bool] = False
    statistics = frozenset({"seq_kl"})

    def __init__(
        self, beta: float = 0.1, version: Literal[1, 2] = 2, alpha: float | None = None, **modifiers: Any
    ) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if alpha is not None and version == 1:
            raise ValueError("alpha has no effect in version 1")
        if alpha is not None and alpha < 0:
            raise ValueError(f"alpha must not be negative, not {alpha}")
        self.beta, self.version, self.alpha = beta, version, 0.5 if alpha is None else alpha

    def offset(self, responses: Responses) -> Tensor | float:
        assert responses.seq_kl is not None
        chosen, rejected = responses.seq_kl.unbind(1)
        if self.version == 1:
            return self.beta * (rejected - chosen)
        return self.beta * self.alpha * (rejected - chosen.detach())

    def link(self, z: Tensor) -> Tensor:
        return logistic(z)

    def rewards(self, scores: Tensor, responses: Responses) -> Tensor:
        assert responses.seq_kl is not None
        return self.beta * (scores + responses.seq_kl)

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = super().preference_loss(scores, responses)
        assert responses.seq_kl is not None
        k = responses.seq_kl.detach()
        return losses, {**metrics, "seq_kl/chosen": k[:, 0], "seq_kl/rejected": k[:, 1]}

    def start_loss(self) -> float | None:
        return math.log(2) if self.starts_at_reference else None
