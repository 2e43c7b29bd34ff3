"""Alignment via optimal transport: distributions of rewards, not single pairs, are set apart."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.links import logistic
from prefine.objectives.pairwise import Pair
from prefine.registry import objectives


@objectives.register("aot")
class AOT(Pair):
    """The sorted margins of the policy must exceed the sorted margins of the reference.

    Formula: mean_k of DPO's loss at beta d_k, d_k = k-th smallest (logp_c - logp_r) - k-th smallest (ref_c - ref_r)
    Paper: Melnyk et al. 2024, arXiv:2406.05882, eq. 9
    Defaults: beta 0.1 (sane 0.01 to 0.1)
    Scope: sorts over the global batch, of all micro-batches and processes; a batch of one is DPO
    Disagreements: TRL sorts within a process's micro-batch, so that its loss depends on how a batch is cut
    """

    needs_reference: ClassVar[bool] = True
    accepts_f_divergence: ClassVar[bool] = False
    keeps_pairs: ClassVar[bool] = False
    coupled: bool = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if not 0 <= label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), not {label_smoothing}")
        self.beta, self.label_smoothing = beta, label_smoothing

    def gaps(self, scores: Tensor, responses: Responses) -> Tensor:
        """(B,) differences of quantiles, smallest first."""
        assert responses.ref_logps is not None
        reference = responses.ref_logps
        if self.ld_alpha < 1 and self.ld_reference:
            assert responses.ref_token_logps is not None
            reference = self._discounted(responses.ref_token_logps, responses.lengths)
        policy = scores + reference
        return (policy[:, 0] - policy[:, 1]).sort().values - (reference[:, 0] - reference[:, 1]).sort().values

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        gaps = self.gaps(scores, responses)
        return logistic(self.beta * gaps, self.label_smoothing), {"aot/gap": gaps.detach()}

    def start_loss(self) -> float | None:
        return math.log(2) if self.starts_at_reference else None


@objectives.register("aot_unpaired", "aot_pair")
class AOTUnpaired(AOT):
    """The sorted log-ratios of chosen responses must exceed the sorted log-ratios of rejected ones.

    Formula: mean_k of DPO's loss at beta d_k, d_k = k-th smallest u_c - k-th smallest u_r, u the log-ratio
    Paper: Melnyk et al. 2024, arXiv:2406.05882, eq. 11
    Defaults: beta 0.1 (sane 0.01 to 0.1)
    Scope: sorts over the global batch; a batch of one is DPO
    Disagreements: TRL before 0.28 called this formula aot_pair, which is an alias here
    """

    def gaps(self, scores: Tensor, responses: Responses) -> Tensor:
        return scores[:, 0].sort().values - scores[:, 1].sort().values
