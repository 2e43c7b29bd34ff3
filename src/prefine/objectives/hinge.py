"""Hinge losses: on log-ratios (SLiC-DPO) and on log-probs (SLiC)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from prefine.objectives.pairwise import Margin, start_value
from prefine.registry import objectives


@objectives.register("hinge", "slic_dpo")
class Hinge(Margin):
    """Hinge on the margin of log-ratios, called SLiC-DPO in CustomPOs and hinge-norm in RSO.

    Formula: max(0, delta - beta Delta)
    Paper: Liu et al. 2023 (RSO), arXiv:2309.06657; Santos, MSc thesis (CustomPOs), eq. 4.2
    Defaults: beta 0.1 (sane 0.01 to 0.5), delta 1; only delta / beta matters but for the scale: no pair is done before
    Delta reaches delta / beta nats
    Disagreements: TRL fixes delta at 1 and calls this loss SLiC, although SLiC has no reference
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, delta: float = 1.0, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0 or delta <= 0:
            raise ValueError(f"beta and delta must be positive, not {beta} and {delta}")
        self.beta, self.delta = beta, delta

    def link(self, z: Tensor) -> Tensor:
        return (self.delta - z).relu()

    def link_metrics(self, z: Tensor) -> dict[str, Tensor]:
        return {"hinge/satisfied": (z >= self.delta).float()}

    def start_loss(self) -> float | None:
        return start_value(self)


@objectives.register("slic", "slic_hf")
class SLiC(Hinge):
    """Sequence likelihood calibration: hinge on the log-probs, with the likelihood of the chosen response.

    Formula: max(0, delta - beta (logp_c - logp_r)) + nll_weight NLL(chosen)
    Paper: Zhao et al. 2023 (SLiC-HF), arXiv:2305.10425, eq. 1
    Defaults: beta 1, delta 1, nll_weight 0.1, nll_reduction token_mean; CustomPOs: beta 0.1, nll_weight 1
    Disagreements: HALOs adds a matrix of token losses to a vector of examples; here the reduction is named
    """

    needs_reference: ClassVar[bool] = False
    log_ratio: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 1.0,
        delta: float = 1.0,
        nll_weight: float = 0.1,
        nll_reduction: Literal["seq_mean", "token_mean", "seq_sum"] | None = None,
        **modifiers: Any,
    ) -> None:
        super().__init__(
            beta,
            delta,
            nll_weight=nll_weight,
            nll_reduction=("token_mean" if nll_weight > 0 else None) if nll_reduction is None else nll_reduction,
            **modifiers,
        )
