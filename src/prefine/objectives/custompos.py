"""Losses of the CustomPOs code base beyond DPO-gamma and SLiC-DPO."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from prefine.objectives.base import Responses
from prefine.objectives.links import logistic
from prefine.objectives.pairwise import Margin, start_value
from prefine.registry import objectives

SMALLEST_ENTROPY = 1e-6
"""Share of log V below which an entropy counts as this: that of a certain answer has an infinite logarithm."""


@objectives.register("fpo")
class FocalPO(Margin):
    """DPO that turns away from pairs it has already learned, as the focal loss does.

    Formula: -(1 - sigmoid(z))^gamma log sigmoid(z), z = beta Delta
    Paper: CustomPOs (Santos, MSc thesis), after Lin et al. 2017, arXiv:1708.02002
    Defaults: beta 0.1, gamma 2; gamma 0 is DPO
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, gamma: float = 2.0, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, not {gamma}")
        self.beta, self.gamma = beta, gamma

    def link(self, z: Tensor) -> Tensor:
        return (-self.gamma * softplus(z)).exp() * softplus(-z)

    def start_loss(self) -> float | None:
        return start_value(self)


@objectives.register("fcpo")
class FocalCPO(FocalPO):
    """Focal weight from the margin of log-ratios, logarithm of the preference without the reference.

    Formula: -(1 - sigmoid(z))^gamma log sigmoid(beta (logp_c - logp_r)), z = beta Delta
    Paper: CustomPOs (Santos, MSc thesis)
    Defaults: beta 0.1, gamma 2
    """

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        z = self.beta * (scores[:, 0] - scores[:, 1])
        policy = self._policy_sums(responses)
        free = self.beta * (policy[:, 0] - policy[:, 1])
        return (-self.gamma * softplus(z)).exp() * softplus(-free), {}

    def start_loss(self) -> float | None:
        return None


@objectives.register("mpo")
class MetricPO(Margin):
    """DPO with soft labels from the scores: how much better the chosen response is.

    Formula: -q log sigmoid(z) - (1 - q) log sigmoid(-z), q = sigmoid(score_c - score_r), z = beta Delta
    Paper: CustomPOs (Santos, MSc thesis)
    Defaults: beta 0.1; scores on the scale of a reward model's logits
    """

    needs_reference: ClassVar[bool] = True
    needs_scores: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        self.beta = beta

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        assert responses.scores is not None
        z = self.beta * (scores[:, 0] - scores[:, 1])
        q = (responses.scores[:, 0] - responses.scores[:, 1]).sigmoid()
        return q * softplus(-z) + (1 - q) * softplus(z), {"mpo/label": q}

    def start_loss(self) -> float | None:
        return math.log(2) if self.starts_at_reference else None


@objectives.register("ropo")
class ROPO(Margin):
    """DPO with a bounded term against noisy pairs, which it gives up instead of fitting them.

    Formula: -4 alpha / (1+alpha)^2 log sigmoid(z) + 4 alpha^2 / (1+alpha)^2 sigmoid(-z), z = beta Delta
    Paper: Liang et al. 2024, arXiv:2404.04102, as in CustomPOs
    Defaults: beta 0.1, alpha 7
    """

    needs_reference: ClassVar[bool] = True

    def __init__(self, beta: float = 0.1, alpha: float = 7.0, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0 or alpha <= 0:
            raise ValueError(f"beta and alpha must be positive, not {beta} and {alpha}")
        self.beta, self.alpha = beta, alpha

    def link(self, z: Tensor) -> Tensor:
        a = self.alpha
        return 4 * a / (1 + a) ** 2 * softplus(-z) + 4 * a**2 / (1 + a) ** 2 * (-z).sigmoid()

    def start_loss(self) -> float | None:
        return start_value(self)


@objectives.register("mallows")
class MallowsPO(Margin):
    """DPO that asks more of prompts with a clear answer: the margin is scaled by the dispersion of the responses.

    Formula: -log sigmoid(-2 phi log(H / log V) beta Delta), H the policy's token entropy (detached), V vocabulary
    Paper: Chen et al. 2024, arXiv:2405.14953, as in CustomPOs
    Defaults: beta 0.1, phi 1
    Disagreements: CustomPOs sums the entropy over the tokens; the paper's ratio needs a mean, which is the default
    here (`entropy_sum: true` for theirs)
    """

    needs_reference: ClassVar[bool] = True
    statistics = frozenset({"entropy"})

    def __init__(self, beta: float = 0.1, phi: float = 1.0, entropy_sum: bool = False, **modifiers: Any) -> None:
        super().__init__(**modifiers)
        if beta <= 0 or phi <= 0:
            raise ValueError(f"beta and phi must be positive, not {beta} and {phi}")
        self.beta, self.phi, self.entropy_sum = beta, phi, entropy_sum

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        assert responses.entropy is not None and responses.vocab_size is not None
        entropy = responses.entropy.detach().sum(1)
        if not self.entropy_sum:
            entropy = entropy / responses.lengths.sum(1)
        dispersion = -(entropy / math.log(responses.vocab_size)).clamp(min=SMALLEST_ENTROPY).log()
        z = 2 * self.phi * dispersion * self.beta * (scores[:, 0] - scores[:, 1])
        return logistic(z), {"mallows/dispersion": dispersion, "entropy": entropy}

    def start_loss(self) -> float | None:
        return math.log(2) if self.starts_at_reference else None
