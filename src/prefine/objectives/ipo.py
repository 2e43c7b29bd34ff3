"""Identity Preference Optimization."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.pairwise import Pair
from prefine.registry import objectives


@objectives.register("ipo")
class IPO(Pair):
    """The margin of log-ratios is regressed on a target, so that it cannot grow without end.

    Formula: (h - 1 / (2 tau))^2, h = Delta (norm sum) or the difference of log-ratios per token (norm mean)
    Paper: Azar et al. 2023, arXiv:2310.12036, eq. 17
    Defaults: norm mean, tau 0.1, a target of 5 nats per token (sane 0.5 to 5; with sum 0.01 to 1)
    Disagreements: the DPO authors, OpenRLHF and TRL up to 0.7 sum; TRL from 0.8 on and others take means. The losses
    differ by the square of the length
    """

    needs_reference: ClassVar[bool] = True

    def __init__(
        self, tau: float = 0.1, norm: Literal["mean", "sum"] = "mean", ld_alpha: float = 1.0, **modifiers: Any
    ) -> None:
        super().__init__(ld_alpha=ld_alpha, **modifiers)
        if tau <= 0:
            raise ValueError(f"tau must be positive, not {tau}")
        if norm == "mean" and ld_alpha != 1:
            raise ValueError("ld_alpha discounts sums of log-probs; set norm: sum")
        self.tau, self.norm = tau, norm
        self.beta = tau

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        h = scores / responses.lengths if self.norm == "mean" else scores
        gap = h[:, 0] - h[:, 1]
        return (gap - 1 / (2 * self.tau)) ** 2, {"ipo/target_reached": (gap.detach() >= 1 / (2 * self.tau)).float()}

    def start_loss(self) -> float | None:
        return 1 / (4 * self.tau**2) if self.starts_at_reference else None
