"""Direct Preference Optimization, and the settings of it that have names of their own."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Responses
from prefine.objectives.pairwise import Logistic, start_value
from prefine.registry import objectives


@objectives.register("dpo", "sigmoid")
class DPO(Logistic):
    """Direct Preference Optimization; with label_smoothing, conservative DPO; with gamma, DPO with a margin.

    Formula: -(1-e) log sigmoid(z) - e log sigmoid(-z), z = beta ((logp_c - ref_c) - (logp_r - ref_r)) - gamma
    Paper: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; label smoothing: Mitchell 2023
    Defaults: beta 0.1 (sane 0.01 to 0.5), e in [0, 0.5); learning rate 5e-8 to 1e-6 for all weights, 5e-6 to 1e-5 for
    LoRA
    Disagreements: TRL from 0.29 on ignores label_smoothing for this loss; here it is applied
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, gamma: float = 0.0, **modifiers: Any) -> None:
        super().__init__(beta, label_smoothing, **modifiers)
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, not {gamma}")
        self.gamma = gamma

    def offset(self, responses: Responses) -> Tensor | float:
        return self.gamma

    def link_metrics(self, z: Tensor) -> dict[str, Tensor]:
        return {"margins/above_gamma": (z >= 0).float()} if self.gamma else {}

    def start_loss(self) -> float | None:
        return start_value(self, self.gamma)


@objectives.register("cdpo")
class ConservativeDPO(DPO):
    """DPO for labels of which some are flipped; its optimum is finite, at beta Delta = ln((1-e)/e).

    Formula: -(1-e) log sigmoid(beta Delta) - e log sigmoid(-beta Delta), Delta the difference of the log-ratios
    Paper: Mitchell 2023, "A note on DPO with noisy preferences"
    Defaults: beta 0.1, label_smoothing 0.1 (sane 0.05 to 0.2)
    """

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.1, **modifiers: Any) -> None:
        super().__init__(beta, label_smoothing, gamma=0.0, **modifiers)


@objectives.register("dpo_gamma", "odpo")
class DPOGamma(DPO):
    """DPO that asks for a margin: the log-ratios must differ by gamma / beta nats before a pair is counted as learned.

    Formula: -log sigmoid(beta Delta - gamma)
    Paper: Santos, MSc thesis (CustomPOs), eq. 4.1; ODPO (Amini et al. 2024, arXiv:2402.10571) with a constant offset
    Defaults: beta 0.1, gamma 0.5 (sane 0 to 1; gamma / beta = 5 nats); learning rate 1e-7
    Disagreements: the advice "0.5, search 0 to 1" comes from SimPO, where it is said of the ratio gamma / beta
    """

    def __init__(self, beta: float = 0.1, gamma: float = 0.5, label_smoothing: float = 0.0, **modifiers: Any) -> None:
        super().__init__(beta, label_smoothing, gamma, **modifiers)


@objectives.register("rpo")
class RPO(DPO):
    """DPO with the negative log-likelihood of the chosen response (iterative reasoning preference optimization).

    Formula: -log sigmoid(beta Delta) + nll_weight NLL(chosen)
    Paper: Pang et al. 2024, arXiv:2404.19733 (seq_mean, weight 1); Liu et al. 2024, arXiv:2405.16436 (seq_sum, 0.005,
    beta 0.01)
    Defaults: beta 0.1, nll_weight 1, nll_reduction seq_mean
    Disagreements: TRL up to 0.28 averaged over tokens and skipped those with id 0; NeMo's "rpo" is another method
    """

    def __init__(self, beta: float = 0.1, nll_weight: float = 1.0, **modifiers: Any) -> None:
        super().__init__(beta, nll_weight=nll_weight, **modifiers)


@objectives.register("ld_dpo")
class LDDPO(DPO):
    """DPO in which tokens behind the length of the shorter response count less: length desensitization.

    Formula: DPO with sum_{t<=L} l_t + ld_alpha sum_{t>L} l_t for each log-prob, L the shorter response's length
    Paper: Liu et al. 2024, arXiv:2409.06411, eq. 9
    Defaults: beta 0.1, ld_alpha 0.5 (0 ignores the tail, 1 is DPO)
    Disagreements: TRL 0.18 to 0.28 and others do not discount the reference, so that training starts with a margin
    (`ld_reference: false`); they also counted positions from the start of the prompt, which is not offered
    """

    def __init__(self, beta: float = 0.1, ld_alpha: float = 0.5, **modifiers: Any) -> None:
        super().__init__(beta, ld_alpha=ld_alpha, **modifiers)


@objectives.register("wpo")
class WPO(DPO):
    """DPO in which each pair weighs as much as the policy would produce it: off-policy data made more like on-policy.

    Formula: w DPO, w = min(1, exp(g_c + g_r)) detached, g = mean_t [log p(y_t) - log sum_v p(v)^2]
    Paper: Zhou et al. 2024, arXiv:2406.11827, eq. 4
    Defaults: beta 0.01, wpo sampled (greedy: experimental; unaligned: tiny weights, raise the learning rate)
    Disagreements: TRL from 0.29 on does not clamp at 1; TRL 0.14 to 0.28 took the overlap of the next position
    """

    def __init__(
        self, beta: float = 0.01, wpo: Literal["sampled", "greedy", "unaligned"] = "sampled", **modifiers: Any
    ) -> None:
        super().__init__(beta, wpo=wpo, **modifiers)


@objectives.register("fdpo")
class FDPO(DPO):
    """DPO whose implicit constraint is another f-divergence than the reverse KL.

    Formula: -log sigmoid(beta (s(u_c) - s(u_r))); s(u) = -exp(-u) forward_kl, log sigmoid(u) js, -exp(-a u)/a alpha
    Paper: Wang et al. 2023, arXiv:2309.16240, table 1
    Defaults: beta 0.1, f_divergence js; f_alpha 0.5 (to 0: reverse KL, to 1: forward KL)
    Disagreements: TRL's coefficient c is 1 - f_alpha; exponents are cut at 80 and the share of cut pairs is logged
    """

    def __init__(
        self, beta: float = 0.1, f_divergence: Literal["forward_kl", "js", "alpha"] = "js", **modifiers: Any
    ) -> None:
        super().__init__(beta, f_divergence=f_divergence, **modifiers)


@objectives.register("bcr")
class BCR(DPO):
    """DPO with a budget for the fall of the chosen response's likelihood, beyond which it is penalized.

    Formula: DPO + bcr_weight max(0, (ref_c - logp_c) / n_c - bcr_budget); without / n_c for bcr_unit sum
    Paper: Chen et al. 2024, arXiv:2411.05875 (the idea; its exact equation could not be checked)
    Defaults: beta 0.1, bcr_weight 1 (sane 0.1 to 10), bcr_budget 0.1 nats per token
    """

    def __init__(self, beta: float = 0.1, bcr_weight: float = 1.0, **modifiers: Any) -> None:
        super().__init__(beta, bcr_weight=bcr_weight, **modifiers)


@objectives.register("dpo_norm", "sigmoid_norm")
class DPONorm(DPO):
    """DPO on log-ratios per token, so that a long response does not count more.

    Formula: -log sigmoid(beta ((logp_c - ref_c) / n_c - (logp_r - ref_r) / n_r))
    Paper: Lambert et al. 2024 (Tülu 3), arXiv:2411.15124
    Defaults: beta 5 (sane 2 to 10)
    """

    length_normalized: ClassVar[bool] = True

    def __init__(self, beta: float = 5.0, label_smoothing: float = 0.0, gamma: float = 0.0, **modifiers: Any) -> None:
        super().__init__(beta, label_smoothing, gamma, **modifiers)


@objectives.register("rdpo", "r_dpo")
class RDPO(DPO):
    """Length-regularized DPO: a longer chosen response has explained a part of the preference already.

    Formula: -log sigmoid(beta Delta + alpha (n_c - n_r))
    Paper: Park et al. 2024, arXiv:2403.19159
    Defaults: beta 0.1, alpha 0.01 per token (0.05 to 1 in the paper; for 200 tokens start at 0.001 to 0.01)
    Disagreements: a public implementation has minus, which rewards length; the derivation gives plus
    """

    def __init__(self, beta: float = 0.1, alpha: float = 0.01, **modifiers: Any) -> None:
        super().__init__(beta, gamma=0.0, **modifiers)
        if alpha < 0:
            raise ValueError(f"alpha must not be negative, not {alpha}")
        self.alpha = alpha

    def offset(self, responses: Responses) -> Tensor | float:
        n = responses.lengths.to(responses.logps.dtype)
        return -self.alpha * (n[:, 0] - n[:, 1])

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = super().preference_loss(scores, responses)
        return losses, {**metrics, "offset/length": -self.offset(responses) * torch.ones_like(losses)}

    def start_loss(self) -> float | None:
        return super().start_loss() if self.alpha == 0 else None


@objectives.register("dpop", "smaug")
class DPOP(DPO):
    """DPO-Positive: the chosen response must not become less likely than under the reference.

    Formula: -log sigmoid(beta (Delta - penalty max(0, ref_c - logp_c)))
    Paper: Pal et al. 2024 (Smaug), arXiv:2402.13228
    Defaults: beta 0.3, penalty 50 (5 to 500 alike); its gradient is up to beta (1 + penalty) per nat: lower the rate
    """

    def __init__(self, beta: float = 0.3, penalty: float = 50.0, **modifiers: Any) -> None:
        super().__init__(beta, gamma=0.0, **modifiers)
        if penalty < 0:
            raise ValueError(f"penalty must not be negative, not {penalty}")
        self.penalty = penalty

    def offset(self, responses: Responses) -> Tensor | float:
        return self.beta * self.penalty * (-responses.ratios[:, 0]).relu()

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = super().preference_loss(scores, responses)
        short = (-responses.ratios[:, 0]).relu().detach()
        return losses, {**metrics, "dpop/penalty": short, "dpop/active": (short > 0).float()}
