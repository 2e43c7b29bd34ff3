"""What objectives on pairs share: the score of a response, the modifiers that go with every one, and the metrics.

Almost every pairwise loss is link(beta (score(chosen) - score(rejected)) - offset), times a weight, plus regularizers.
`Pair` has the scores, weights and regularizers, `Margin` the rest; an objective says what differs.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Output, Responses, pair_metrics
from prefine.objectives.links import MAX_EXPONENT, logistic


class Pair(Objective):
    """A loss on pairs, with the modifiers that combine with all of them.

    nll_weight: adds nll_weight * NLL(chosen), reduced by nll_reduction (seq_mean: each response's mean over its tokens,
    arXiv:2404.19733; token_mean: over the tokens of the global batch; seq_sum). ld_alpha: LD-DPO (arXiv:2409.06411, eq.
    9), log-probs of tokens behind the shorter response's length count ld_alpha; also those of the reference, unless
    ld_reference is false. wpo: WPO (arXiv:2406.11827, eq. 4), the loss times the detached probability of the pair under
    the policy, clamped at 1, relative to sampling (`sampled`), to greedy decoding (`greedy`) or to nothing
    (`unaligned`); wpo_normalize divides by the sum of the weights. f_divergence: f-DPO (arXiv:2309.16240, table 1) with
    f_alpha as in that paper. bcr_weight: adds bcr_weight * max(0, drop - bcr_budget) where drop is what the chosen
    response lost in log-prob against the reference, per token or in sum (bcr_unit); with bcr_softness a softplus of
    that temperature (arXiv:2411.05875).
    """

    length_normalized: ClassVar[bool] = False
    """The score is a mean over tokens."""
    log_ratio: ClassVar[bool] = True
    """The score is a function of the log-ratio to the reference."""
    accepts_f_divergence: ClassVar[bool] = True
    keeps_pairs: ClassVar[bool] = True
    """Each loss belongs to one pair, so that a pair can be weighted."""
    beta: float = 1.0

    def __init__(
        self,
        *,
        nll_weight: float = 0.0,
        nll_reduction: Literal["seq_mean", "token_mean", "seq_sum"] | None = None,
        ld_alpha: float = 1.0,
        ld_reference: bool = True,
        wpo: Literal["none", "sampled", "greedy", "unaligned"] = "none",
        wpo_normalize: bool = False,
        f_divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = "reverse_kl",
        f_alpha: float | None = None,
        bcr_weight: float = 0.0,
        bcr_budget: float | None = None,
        bcr_unit: Literal["mean", "sum"] | None = None,
        bcr_softness: float | None = None,
    ) -> None:
        super().__init__()
        if nll_weight < 0:
            raise ValueError(f"nll_weight must not be negative, not {nll_weight}")
        if nll_reduction is not None and nll_weight == 0:
            raise ValueError("nll_reduction has no effect without nll_weight")
        if not 0 <= ld_alpha <= 1:
            raise ValueError(f"ld_alpha must be in [0, 1], not {ld_alpha}")
        if ld_alpha < 1 and self.length_normalized:
            raise ValueError("ld_alpha discounts sums of log-probs, but this objective takes means over tokens")
        if not ld_reference and ld_alpha == 1:
            raise ValueError("ld_reference has no effect without ld_alpha")
        if not ld_reference and not self.log_ratio:
            raise ValueError("ld_reference has no effect, since this objective has no reference")
        if wpo != "none" and not self.keeps_pairs:
            raise ValueError("wpo weights pairs, but this objective sorts the batch and so breaks them up")
        if wpo_normalize and wpo == "none":
            raise ValueError("wpo_normalize has no effect without wpo")
        if f_divergence != "reverse_kl" and not self.log_ratio:
            raise ValueError("f_divergence needs log-ratios to a reference, which this objective does not have")
        if f_divergence != "reverse_kl" and not self.accepts_f_divergence:
            raise ValueError("f_divergence is defined for margins of log-ratios; this objective uses them otherwise")
        if f_alpha is not None and f_divergence != "alpha":
            raise ValueError("f_alpha has no effect without f_divergence: alpha")
        if f_alpha is not None and not 0 < f_alpha < 1:
            raise ValueError(f"f_alpha must be in (0, 1), not {f_alpha}")
        if bcr_weight < 0:
            raise ValueError(f"bcr_weight must not be negative, not {bcr_weight}")
        if bcr_weight > 0 and not self.log_ratio:
            raise ValueError("bcr_weight limits the drop against a reference, which this objective does not have")
        if bcr_weight == 0 and (bcr_budget is not None or bcr_unit is not None or bcr_softness is not None):
            raise ValueError("bcr_budget, bcr_unit and bcr_softness have no effect without bcr_weight")
        if bcr_budget is not None and bcr_budget < 0:
            raise ValueError(f"bcr_budget must not be negative, not {bcr_budget}")
        if bcr_softness is not None and bcr_softness <= 0:
            raise ValueError(f"bcr_softness must be positive, not {bcr_softness}")
        self.nll_weight, self.nll_reduction = nll_weight, nll_reduction or "seq_mean"
        self.ld_alpha, self.ld_reference = ld_alpha, ld_reference
        self.wpo, self.wpo_normalize = wpo, wpo_normalize
        self.f_divergence, self.f_alpha = f_divergence, 0.5 if f_alpha is None else f_alpha
        self.bcr_weight, self.bcr_budget = bcr_weight, 0.1 if bcr_budget is None else bcr_budget
        self.bcr_unit, self.bcr_softness = bcr_unit or "mean", bcr_softness
        needed = {"token_logps"} if ld_alpha < 1 else set()
        needed |= {"ref_token_logps"} if ld_alpha < 1 and self.log_ratio and ld_reference else set()
        needed |= {"sampled": {"overlap"}, "greedy": {"max_logps"}}.get(wpo, set())
        self.statistics = self.statistics | needed
        self.coupled = self.coupled or wpo_normalize

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses (B,) of the preferences alone, and metrics of this objective; scores: (B, 2), before beta."""
        raise TypeError(f"{type(self).__name__} does not define preference_loss")

    def forward(self, responses: Responses) -> Output:
        scores, metrics = self.scores(responses)
        losses, more = self.preference_loss(scores, responses)
        metrics = {**pair_metrics(self.rewards(scores, responses), responses), **metrics, **more}
        weights = None
        if self.wpo != "none":
            weight = self._pair_weight(responses)
            metrics["wpo/weight"], metrics["wpo/squared_weight"] = weight, weight**2
            if self.wpo_normalize:
                weights = weight
            else:
                losses = losses * weight
        for name, term in self._regularizers(responses, metrics).items():
            losses = losses + term
            metrics[f"loss/{name}"] = term.detach()
        return Output(losses, metrics, weights)

    def rewards(self, scores: Tensor, responses: Responses) -> Tensor:
        """(B, 2) what the reward metrics show: beta times the score, without offsets."""
        ratio = self.f_divergence != "reverse_kl" and self.log_ratio
        return self.beta * (self._sums(responses) if ratio else scores)

    def scores(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, 2) the score of each response, before beta, and metrics."""
        u = self._sums(responses)
        if self.length_normalized:
            u = u / responses.lengths
        if self.f_divergence == "reverse_kl":
            return u, {}
        s, exponent = self._f_scores(u)
        detached = self.beta * s.detach()
        return s, {
            "rewards/f_chosen": detached[:, 0],
            "rewards/f_rejected": detached[:, 1],
            "f_divergence/clamped": (exponent > MAX_EXPONENT).any(1).float(),
        }

    def _f_scores(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f'(exp(u)) with the constant that makes it 0 at u = 0, and the exponent that had to be limited."""
        if self.f_divergence == "js":
            return torch.nn.functional.logsigmoid(u) + math.log(2), torch.zeros_like(u)
        alpha = 1.0 if self.f_divergence == "forward_kl" else self.f_alpha
        return -(-alpha * u).clamp(max=MAX_EXPONENT).expm1() / alpha, -alpha * u.detach()

    def _sums(self, responses: Responses) -> Tensor:
        """(B, 2) log-ratios, or log-probs without a reference; with ld_alpha those of discounted tails."""
        policy, reference = self._policy_sums(responses), responses.ref_logps
        if self.ld_alpha < 1 and self.log_ratio and self.ld_reference:
            assert responses.ref_token_logps is not None
            reference = self._discounted(responses.ref_token_logps, responses.lengths)
        if not self.log_ratio:
            return policy
        assert reference is not None
        return policy - reference

    def _policy_sums(self, responses: Responses) -> Tensor:
        """(B, 2) log-probs of the policy; with ld_alpha those of discounted tails."""
        if self.ld_alpha == 1:
            return responses.logps
        assert responses.token_logps is not None
        return self._discounted(responses.token_logps, responses.lengths)

    def _discounted(self, token_logps: Tensor, lengths: Tensor) -> Tensor:
        position = torch.arange(token_logps.shape[-1], device=token_logps.device)
        tail = position >= lengths.amin(1)[:, None, None]
        return torch.where(tail, self.ld_alpha * token_logps, token_logps).sum(-1)

    @torch.no_grad()
    def _pair_weight(self, responses: Responses) -> Tensor:
        expected = {"sampled": responses.overlap, "greedy": responses.max_logps}.get(self.wpo)
        logps = responses.logps if expected is None else responses.logps - expected
        return (logps / responses.lengths).sum(1).clamp(max=0.0).exp()

    def _regularizers(self, responses: Responses, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        out = {}
        if self.nll_weight:
            out["nll"] = self.nll_weight * self.nll(responses)
        if self.bcr_weight:
            drop = -responses.ratios[:, 0]
            if self.bcr_unit == "mean":
                drop = drop / responses.lengths[:, 0]
            over = drop - self.bcr_budget
            t = self.bcr_softness
            excess = over.relu() if t is None else t * torch.nn.functional.softplus(over / t)
            metrics["bcr/excess"], metrics["bcr/active"] = excess.detach(), (over > 0).float()
            metrics["logps/chosen_drop"] = drop.detach()
            out["bcr"] = self.bcr_weight * excess
        return out

    def nll(self, responses: Responses) -> Tensor:
        """(B,) negative log-likelihood that nll_weight multiplies."""
        return chosen_nll(responses, self.nll_reduction)

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        if self.wpo == "none" or not means["wpo/squared_weight"]:
            return {}
        return {"wpo/effective_share": means["wpo/weight"] ** 2 / means["wpo/squared_weight"]}

    @property
    def starts_at_reference(self) -> bool:
        """Whether all scores are zero, and nothing is added, where the policy is the reference."""
        plain = self.nll_weight == 0 and self.wpo == "none" and self.bcr_softness is None
        return self.needs_reference and self.log_ratio and plain and (self.ld_alpha == 1 or self.ld_reference)


class Margin(Pair):
    """loss = link(z), z = beta (score(chosen) - score(rejected)) - offset."""

    def offset(self, responses: Responses) -> Tensor | float:
        """What z has to overcome: a number, or (B,)."""
        return 0.0

    def link(self, z: Tensor) -> Tensor:
        """(B,) -> (B,)."""
        raise TypeError(f"{type(self).__name__} does not define link")

    def link_metrics(self, z: Tensor) -> dict[str, Tensor]:
        """Metrics of z, detached; (B,) each."""
        return {}

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        z = self.beta * (scores[:, 0] - scores[:, 1]) - self.offset(responses)
        return self.link(z), self.link_metrics(z.detach())


class Logistic(Margin):
    """link = -(1-e) log sigmoid(z) - e log sigmoid(-z), e the share of labels that are taken to be wrong."""

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if not 0 <= label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), not {label_smoothing}")
        self.beta, self.label_smoothing = beta, label_smoothing

    def link(self, z: Tensor) -> Tensor:
        return logistic(z, self.label_smoothing)


def chosen_nll(responses: Responses, reduction: str) -> Tensor:
    """(B,) NLL of the chosen responses, such that their mean over the batch is the reduction asked for."""
    nll = -responses.logps[:, 0]
    if reduction == "seq_sum":
        return nll
    return nll / (responses.lengths[:, 0] if reduction == "seq_mean" else responses.batch_mean_length)


def start_value(objective: Margin, offset: float = 0.0) -> float | None:
    """`start_loss` of a margin objective whose offset is one number."""
    if not objective.starts_at_reference:
        return None
    z = torch.full((1,), -offset, dtype=torch.float64)
    return float(objective.link(z))
