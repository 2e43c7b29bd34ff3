"""DPO with a beta and a selection of pairs that follow the batch's gaps."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Output, Responses
from prefine.objectives.links import logistic
from prefine.objectives.pairwise import Pair
from prefine.registry import objectives


@objectives.register("beta_dpo")
class BetaDPO(Pair):
    """beta-DPO: beta grows with the batch's mean gap, and pairs with gaps far from the running mean are left out.

    Formula: -log sigmoid(b M) over the selected pairs, M = (logp_c - ref_c) - (logp_r - ref_r),
    b = beta (1 + a (mean of the selected M - M0)), selection by exp(-((M - M0) / s0)^2 / 2), M0 and s0 running mean
    and standard deviation of M
    Paper: Wu et al. 2024, arXiv:2407.08639
    Defaults: beta 0.1 (sane 0.01 to 0.5), a 0.6 (0 to 1), q 0.2 (0 to 0.4), momentum 0.9; learning rate 5e-7 with 150
    steps of warmup
    Scope: the statistics are over the global batch, or over micro_size pairs of it at a time
    Disagreements: the authors' code starts M0 and s0 at zero, takes micro-batches for batches and updates in evaluation

    q: share of the pairs that is left out, drawn without replacement (`select: sample`, from seed and the count of
    updates, alike in all processes), those of least weight (`topk`), or nobody (`none`). window: the batch that defines
    M is the optimizer's, or micro_size pairs at a time. scope: one b for that batch, or one per pair by its own M.
    m0_update: whether the batch enters M0 and s0 before or after it is used. gap_scale reward: M includes beta in all
    but the loss. b stays between beta_floor and beta_ceiling (10 beta).
    In evaluation the state stays as it is and no pair is left out.
    released: as the authors' code. State starts at zero, int(B (1 - q)) pairs, no ceiling, and evaluation does all that
    training does. Where that code crashes (one pair, all gaps equal, nothing selected), what is done here remains: at
    least one pair, and no selection while s0 is nearly zero. Its window is a micro-batch over all processes.
    """

    needs_reference: ClassVar[bool] = True
    coupled: bool = True
    M0: Tensor
    s0: Tensor
    count: Tensor

    def __init__(
        self,
        beta: float = 0.1,
        a: float = 0.6,
        q: float | None = None,
        momentum: float = 0.9,
        beta_floor: float = 1e-3,
        beta_ceiling: float | None = None,
        scope: Literal["batch", "instance"] = "batch",
        select: Literal["sample", "topk", "none"] = "sample",
        m0_update: Literal["pre", "post"] = "pre",
        gap_scale: Literal["raw", "reward"] = "raw",
        init: Literal["first_batch", "zero"] | None = None,
        window: Literal["optimizer", "micro"] = "optimizer",
        micro_size: int | None = None,
        seed: int | None = None,
        released: bool = False,
        **modifiers: Any,
    ) -> None:
        super().__init__(**modifiers)
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        if a < 0:
            raise ValueError(f"a must not be negative, not {a}")
        if q is not None and not 0 <= q < 1:
            raise ValueError(f"q must be in [0, 1), not {q}")
        if q is not None and select == "none":
            raise ValueError("q has no effect with select: none")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        if not 0 < beta_floor <= beta:
            raise ValueError(f"beta_floor must be in (0, beta], not {beta_floor}")
        if beta_ceiling is not None and beta_ceiling < beta:
            raise ValueError(f"beta_ceiling must be at least beta, not {beta_ceiling}")
        if window == "micro" and (micro_size is None or micro_size < 2):
            raise ValueError("window: micro needs micro_size, the pairs of a micro-batch, at least 2")
        if micro_size is not None and window != "micro":
            raise ValueError("micro_size has no effect without window: micro")
        if seed is not None and select != "sample":
            raise ValueError("seed has no effect without select: sample")
        if released and (scope != "batch" or select != "sample" or m0_update != "pre" or gap_scale != "raw"):
            raise ValueError("released means scope: batch, select: sample, m0_update: pre and gap_scale: raw")
        if released and (init == "first_batch" or beta_ceiling is not None):
            raise ValueError("released means init: zero and no beta_ceiling")
        self.beta, self.a, self.q, self.momentum = beta, a, 0.2 if q is None else q, momentum
        self.beta_floor = beta_floor
        self.beta_ceiling = math.inf if released else 10 * beta if beta_ceiling is None else beta_ceiling
        self.scope, self.select, self.m0_update, self.gap_scale = scope, select, m0_update, gap_scale
        self.zero_init, self.micro_size, self.seed, self.released = (
            released or init == "zero",
            micro_size,
            seed,
            released,
        )
        for name in ("M0", "s0"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def preference_loss(self, scores: Tensor, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        gaps = scores[:, 0] - scores[:, 1]
        # On the CPU in float64: every process draws the same pairs, and there is one transfer per batch.
        windows = gaps.detach().double().cpu().split(self.micro_size or len(gaps))
        parts = [self._window(w) for w in windows]
        metrics = {f"beta_dpo/{k}": torch.cat([p[k] for p in parts]).to(gaps) for k in parts[0]}
        return logistic(metrics["beta_dpo/beta"] * gaps), metrics

    def forward(self, responses: Responses) -> Output:
        out = super().forward(responses)
        kept, losses = out.metrics["beta_dpo/kept"], out.losses.detach()
        weights = kept if out.weights is None else kept * out.weights
        kept_loss = losses * weights * len(losses) / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        return Output(out.losses, {**out.metrics, "loss/all": losses, "loss/kept": kept_loss}, weights)

    def _window(self, gaps: Tensor) -> dict[str, Tensor]:
        """Betas, selection and metrics of the pairs that count as one batch, (B,) each; moves the state on."""
        gaps = gaps * (self.beta if self.gap_scale == "reward" else 1.0)
        b, learns = len(gaps), self.training or self.released
        before = float(self.M0), float(self.s0)
        after = self._moved(gaps, *before)
        first = int(self.count) == 0 and not self.zero_init
        mean, deviation = after if first or (learns and self.m0_update == "pre") else before
        log_weights = torch.zeros_like(gaps)
        filtered = deviation > 1e-6 * max(1.0, abs(mean))
        if filtered:
            log_weights = -0.5 * ((gaps - mean) / deviation) ** 2
        kept = self._selection(log_weights) if filtered and learns else torch.ones_like(gaps)
        level = gaps if self.scope == "instance" else (gaps * kept).sum() / kept.sum()
        wanted = (self.beta * (1 + self.a * (level - mean))).expand(b)
        weights = (log_weights - log_weights.max()).exp()
        if learns:
            self.M0.fill_(after[0])
            self.s0.fill_(after[1])
            self.count.add_(1)
        values = {
            "M0": mean,
            "s0": deviation,
            "gap_mean": float(gaps.mean()),
            "gap_std": float(gaps.std()) if b > 1 else 0.0,
            "weight_ess": float(weights.sum() ** 2 / (weights**2).sum()) / b,
        }
        return {
            "beta": wanted.clamp(self.beta_floor, self.beta_ceiling),
            "kept": kept,
            "floor_hit": (wanted < self.beta_floor).to(gaps),
            **{name: torch.full_like(gaps, value) for name, value in values.items()},
        }

    def _moved(self, gaps: Tensor, mean: float, deviation: float) -> tuple[float, float]:
        """Running mean and standard deviation with these gaps; one pair alone has no deviation to add."""
        m = 0.0 if int(self.count) == 0 and not self.zero_init else self.momentum
        spread = float(gaps.std()) if len(gaps) > 1 else deviation
        return m * mean + (1 - m) * float(gaps.mean()), m * deviation + (1 - m) * spread

    def _selection(self, log_weights: Tensor) -> Tensor:
        """(B,) 1 for the pairs that stay."""
        if self.select == "none" or self.q == 0:
            return torch.ones_like(log_weights)
        b = len(log_weights)
        k = max(1, int(b * (1 - self.q)) if self.released else round(b * (1 - self.q)))
        if self.select == "sample":
            # Adding Gumbel noise and taking the largest draws without replacement, and no weight underflows.
            generator = torch.Generator().manual_seed(((self.seed or 0) * 0x9E3779B1 + int(self.count)) % 2**32)
            log_weights = log_weights - torch.empty_like(log_weights).exponential_(generator=generator).log()
        kept = log_weights.argsort(descending=True, stable=True)[:k]
        return torch.zeros_like(log_weights).index_fill(0, kept, 1.0)

    def start_loss(self) -> float | None:
        return math.log(2) if self.starts_at_reference else None
