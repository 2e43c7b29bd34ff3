"""Contrastive Preference Optimization."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from prefine.objectives.pairwise import Logistic
from prefine.registry import objectives


@objectives.register("cpo")
class CPO(Logistic):
    """DPO without a reference, with the likelihood of the chosen response.

    Formula: -log sigmoid(beta (logp_c - logp_r)) + nll_weight NLL(chosen)
    Paper: Xu et al. 2024, arXiv:2401.08417, eq. 5
    Defaults: beta 0.1, nll_weight 1, nll_reduction token_mean
    Disagreements: the paper sums the NLL over a response, TRL and others average it over the batch's tokens; ALMA's
    present "cpo" is another loss (ARPO). CPO-SimPO is `simpo` with nll_weight
    """

    log_ratio: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 0.1,
        nll_weight: float = 1.0,
        nll_reduction: Literal["seq_mean", "token_mean", "seq_sum"] | None = None,
        label_smoothing: float = 0.0,
        **modifiers: Any,
    ) -> None:
        super().__init__(
            beta,
            label_smoothing,
            nll_weight=nll_weight,
            nll_reduction=("token_mean" if nll_weight > 0 else None) if nll_reduction is None else nll_reduction,
            **modifiers,
        )
