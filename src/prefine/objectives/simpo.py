"""Reference-free preference optimization on log-probs per token: SimPO and AlphaPO."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.links import MAX_EXPONENT, clamped_exp
from prefine.objectives.pairwise import Logistic
from prefine.registry import objectives


@objectives.register("simpo")
class SimPO(Logistic):
    """SimPO: length-averaged log-probs as rewards, a target margin, no reference.

    Formula: -log sigmoid(beta (logp_c / n_c - logp_r / n_r) - gamma)
    Paper: Meng et al. 2024, arXiv:2405.14734, eq. 6
    Defaults: beta 2 (sane 2 to 10), gamma 1 (gamma / beta 0.3 to 0.5); learning rate 3e-7 to 1e-6
    Disagreements: gamma is absolute as in the paper, the authors' code takes gamma / beta (`gamma_beta_ratio`); TRL
    leaves an NLL of weight 1 on unless it is set to 0; CustomPOs has gamma / beta = 5
    """

    length_normalized: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 2.0,
        gamma: float | None = None,
        gamma_beta_ratio: float | None = None,
        label_smoothing: float = 0.0,
        **modifiers: Any,
    ) -> None:
        super().__init__(beta, label_smoothing, **modifiers)
        if gamma is not None and gamma_beta_ratio is not None:
            raise ValueError("gamma and gamma_beta_ratio say the same thing; give one of them")
        if gamma is not None and gamma < 0:
            raise ValueError(f"gamma must not be negative, not {gamma}")
        if gamma_beta_ratio is not None and gamma_beta_ratio < 0:
            raise ValueError(f"gamma_beta_ratio must not be negative, not {gamma_beta_ratio}")
        ratio = 0.5 if gamma_beta_ratio is None else gamma_beta_ratio
        self.gamma = beta * ratio if gamma is None else gamma

    def offset(self, responses: Responses) -> Tensor | float:
        return self.gamma

    def link_metrics(self, z: Tensor) -> dict[str, Tensor]:
        return {"margins/above_gamma": (z >= 0).float()}


@objectives.register("alphapo")
class AlphaPO(SimPO):
    """SimPO with a reward that bends the log-prob per token, so that likely responses count less or more.

    Formula: SimPO with (1 - exp(-alpha a)) / alpha for a = logp / n; alpha 0 is SimPO
    Paper: Gupta et al. 2025, arXiv:2501.03884, eq. 5
    Defaults: beta 2, gamma / beta 0.5, alpha 0.25 (sane -0.5 to 0.5)
    """

    def __init__(self, beta: float = 2.0, alpha: float = 0.25, **settings: Any) -> None:
        super().__init__(beta, **settings)
        if not -10 <= alpha <= 10:
            raise ValueError(f"alpha must be in [-10, 10], not {alpha}")
        self.alpha = alpha

    def scores(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        a, metrics = super().scores(responses)
        if self.alpha == 0:
            return a, metrics
        cut = (-self.alpha * a.detach() > MAX_EXPONENT).any(1).float()
        return (1 - clamped_exp(-self.alpha * a)) / self.alpha, {**metrics, "alphapo/clamped": cut}
