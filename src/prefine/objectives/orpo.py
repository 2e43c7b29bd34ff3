"""Odds Ratio Preference Optimization."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Responses
from prefine.objectives.links import log1mexp
from prefine.objectives.pairwise import Margin, chosen_nll
from prefine.registry import objectives

NEAREST_TO_CERTAIN = -1e-6
"""Where the log-prob per token is cut: the odds of a certain answer are infinite."""


@objectives.register("orpo")
class ORPO(Margin):
    """SFT on the chosen response with a penalty on the odds of the rejected one; no reference, no SFT stage before.

    Formula: NLL(chosen) - beta log sigmoid(o(a_c) - o(a_r)), o(a) = a - log(1 - exp(a)), a = logp / n
    Paper: Hong et al. 2024, arXiv:2403.07691, eq. 6
    Defaults: beta 0.1 (the paper's lambda), nll_reduction token_mean; learning rate 5e-6 to 8e-6
    Disagreements: the authors and TRL take the NLL of prompt and response (`nll_on_prompt`), others of the response;
    the authors' log(sigmoid) underflows. `nll_weight` 0 leaves the odds ratio alone
    """

    length_normalized: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 0.1,
        nll_weight: float = 1.0,
        nll_reduction: Literal["seq_mean", "token_mean", "seq_sum"] | None = None,
        nll_on_prompt: bool = False,
        **modifiers: Any,
    ) -> None:
        super().__init__(
            nll_weight=nll_weight,
            nll_reduction=("token_mean" if nll_weight > 0 else None) if nll_reduction is None else nll_reduction,
            **modifiers,
        )
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if nll_on_prompt and nll_weight == 0:
            raise ValueError("nll_on_prompt has no effect without nll_weight")
        self.strength, self.nll_on_prompt = beta, nll_on_prompt
        self.statistics = self.statistics | ({"prompt_logps"} if nll_on_prompt else set())

    def scores(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        a, metrics = super().scores(responses)
        a = a.clamp(max=NEAREST_TO_CERTAIN)
        odds = a - log1mexp(a)
        shown = odds.detach()
        return odds, {**metrics, "orpo/log_odds": shown[:, 0], "orpo/log_odds_ratio": shown[:, 0] - shown[:, 1]}

    def link(self, z: Tensor) -> Tensor:
        return self.strength * softplus(-z)

    def rewards(self, scores: Tensor, responses: Responses) -> Tensor:
        return self.strength * responses.averages

    def nll(self, responses: Responses) -> Tensor:
        if not self.nll_on_prompt:
            return super().nll(responses)
        assert responses.prompt_logps is not None and responses.prompt_lengths is not None
        whole = Responses(
            responses.logps[:, :1] + responses.prompt_logps[:, None],
            responses.lengths[:, :1] + responses.prompt_lengths[:, None],
            mean_length=responses.mean_prompt_length,
        )
        return chosen_nll(whole, self.nll_reduction)
