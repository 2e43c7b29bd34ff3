"""Self-play preference optimization."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.pairwise import Pair
from prefine.registry import objectives


@objectives.register("sppo", "sppo_hard")
class SPPO(Pair):
    """Log-ratios are regressed on how far a response's chance to win is from one half.

    Formula: (u_c - (P - 1/2) / beta)^2 + (u_r + (P - 1/2) / beta)^2, u = logp - ref, P the chance that chosen wins
    Paper: Wu et al. 2024, arXiv:2405.00675, eq. 4.4
    Defaults: beta 1e-3 (targets of 500 nats), preference hard (P = 1); learning rate 5e-7
    Disagreements: the authors average the two squares (half_sum), TRL adds them; TRL's beta of 0.1 gives targets of 5
    nats, another algorithm, and is refused here without allow_large_beta
    Needs: scores for preference `probability` (the chosen response's score is P) and `bradley_terry` (P = sigmoid of
    the scores' difference)
    """

    needs_reference: ClassVar[bool] = True
    accepts_f_divergence: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 1e-3,
        preference: Literal["hard", "probability", "bradley_terry"] = "hard",
        half_sum: bool = False,
        allow_large_beta: bool = False,
        **modifiers: Any,
    ) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if beta > 0.05 and not allow_large_beta:
            raise ValueError(
                f"beta {beta} gives targets of {0.5 / beta} nats, another algorithm; allow_large_beta: true"
            )
        self.beta, self.preference, self.half_sum = beta, preference, half_sum
        self.needs_scores = preference != "hard"

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        p = torch.ones_like(scores[:, 0])
        if self.preference != "hard":
            assert responses.scores is not None
            chosen, rejected = responses.scores.to(scores.dtype).unbind(1)
            p = chosen if self.preference == "probability" else (chosen - rejected).sigmoid()
        target = (p - 0.5) / self.beta
        squares = (scores[:, 0] - target) ** 2 + (scores[:, 1] + target) ** 2
        return squares / 2 if self.half_sum else squares, {"sppo/preference": p}

    def start_loss(self) -> float | None:
        if not self.starts_at_reference or self.preference != "hard":
            return None
        return 0.5 / self.beta**2 / (2 if self.half_sum else 1)
