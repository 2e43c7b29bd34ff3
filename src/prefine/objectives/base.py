"""What an objective is: numbers in, one loss per example out. It never sees a model, a tokenizer or a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass
class Responses:
    """B examples with K responses each, chosen (or best) first; log-probs are in nats, in float32 or float64.

    Always given:
        logps: (B, K) log-probs under the policy, summed over the trained tokens of a response.
        lengths: (B, K) trained tokens.
        mean_length, mean_prompt_length: tokens of the chosen (or only) responses, without and with those of their
        prompts, averaged over the global batch; from this batch alone if not given. vocab_size: of the policy.
    For objectives that declare the need:
        ref_logps: (B, K) under the frozen reference. scores: (B, K) of the labelers, higher is better.
        labels: (B, K), 1 for a desirable response and 0 for an undesirable one.
        teacher_logps: (B, K) the teacher's log-prob per token. kl_logps, kl_ref_logps: (B,) log-probs of a response
        to another prompt, under policy and reference.
    Per-token statistics, for objectives that name them in `statistics`:
        token_logps, ref_token_logps: (B, K, T), zero behind a response's end.
        Sums over the trained tokens, (B, K): overlap log sum_v p(v)^2; max_logps max_v log p(v); entropy
        -sum_v p(v) log p(v); smooth_logps mean_v log p(v); z_squares (log of the softmax's normalizer)^2; hits, tokens
        that were the most likely ones; seq_kl KL(reference || policy); divergence, that of the objective's own
        `token_divergence` between teacher and policy.
        prompt_logps, prompt_lengths: (B,) log-prob of the prompt itself and its scored tokens.
    """

    logps: Tensor
    lengths: Tensor
    ref_logps: Tensor | None = None
    scores: Tensor | None = None
    labels: Tensor | None = None
    teacher_logps: Tensor | None = None
    kl_logps: Tensor | None = None
    kl_ref_logps: Tensor | None = None
    token_logps: Tensor | None = None
    ref_token_logps: Tensor | None = None
    overlap: Tensor | None = None
    max_logps: Tensor | None = None
    entropy: Tensor | None = None
    smooth_logps: Tensor | None = None
    z_squares: Tensor | None = None
    hits: Tensor | None = None
    seq_kl: Tensor | None = None
    divergence: Tensor | None = None
    prompt_logps: Tensor | None = None
    prompt_lengths: Tensor | None = None
    mean_length: float | None = None
    mean_prompt_length: float | None = None
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
                setattr(self, f.name, value.float())

    @property
    def ratios(self) -> Tensor:
        """(B, K) log-ratios u = log policy - log reference."""
        assert self.ref_logps is not None
        return self.logps - self.ref_logps

    @property
    def averages(self) -> Tensor:
        """(B, K) log-probs per token."""
        return self.logps / self.lengths

    @property
    def batch_mean_length(self) -> float | Tensor:
        """Tokens of a chosen response, averaged over the global batch."""
        return self.lengths[:, 0].to(self.logps.dtype).mean() if self.mean_length is None else self.mean_length

    @property
    def batch_mean_prompt_length(self) -> float | Tensor:
        """Tokens of a prompt with its chosen response, averaged over the global batch."""
        if self.mean_prompt_length is not None:
            return self.mean_prompt_length
        assert self.prompt_lengths is not None
        return (self.lengths[:, 0] + self.prompt_lengths).to(self.logps.dtype).mean()


@dataclass
class Output:
    """What an objective gives back.

    losses: (B,). metrics: each (B,), logged as means over examples. weights: (B,) shares of the examples in the mean
    over the batch where they depend on log-probs, which only a coupled objective may have; else `Objective.weight`
    tells them. The batch's loss is sum(weights * losses) / sum(weights).
    """

    losses: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None


class Objective(nn.Module):
    """Turns response log-probs into one loss per example.

    Settings are the constructor's arguments, state is in buffers (saved with every checkpoint, changed only in training
    mode). The training loop reads the declarations below and provides what is needed; it never asks for a name.
    """

    group_size: ClassVar[int | None] = 2
    """Responses per example: 1, 2, or None for any number from two on (from one on with `needs_labels`)."""
    max_group_size: ClassVar[int | None] = None
    """Most responses per example that the objective can take, where it has such a limit."""
    needs_reference: ClassVar[bool] = False
    needs_scores: bool = False
    needs_labels: ClassVar[bool] = False
    needs_teacher_logps: bool = False
    """The teacher's log-probs per token, from a likelihood labeler."""
    needs_mismatched: bool = False
    """One response to another prompt per example (`kl_logps`, `kl_ref_logps`)."""
    coupled: bool = False
    """Examples enter each other's losses. Such an objective is called once for the whole global batch, of all processes
    and micro-batches, in the order of the schedule."""
    statistics: frozenset[str] = frozenset()
    """Names of the per-token statistics in `Responses` that are needed."""

    def weight(self, lengths: Tensor) -> Tensor:
        """(B,) share of each example in the mean over the global batch, from lengths (B, K) alone."""
        return torch.ones(len(lengths), device=lengths.device)

    def forward(self, responses: Responses) -> Output:
        """One loss per example, with metrics."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics that are functions of the means of others over many examples, such as a perplexity."""
        return {}

    def start_loss(self) -> float | None:
        """The loss where the policy is the reference, if it has one value for all data; checked at step 0."""
        return None


def pair_metrics(rewards: Tensor, responses: Responses) -> dict[str, Tensor]:
    """The field's metrics of pairs. rewards: (B, 2), chosen first. A tie is not counted as right, and counted apart."""
    first = torch.zeros(len(rewards), dtype=torch.long, device=rewards.device)
    return side_metrics(rewards[:, 0], rewards[:, 1], responses, first, first + 1)


def side_metrics(
    chosen: Tensor, rejected: Tensor, responses: Responses, best: Tensor, worst: Tensor
) -> dict[str, Tensor]:
    """Metrics of two responses of each example. chosen, rejected: (B,) rewards; best, worst: (B,) their indices."""

    def pick(values: Tensor, index: Tensor) -> Tensor:
        return values.detach().gather(1, index[:, None]).squeeze(1)

    chosen, rejected = chosen.detach(), rejected.detach()
    sides = {"chosen": best, "rejected": worst}
    out = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/ties": (chosen == rejected).float(),
    }
    for side, index in sides.items():
        logps, lengths = pick(responses.logps, index), pick(responses.lengths, index).to(chosen.dtype)
        out[f"logps/{side}"], out[f"logps_avg/{side}"], out[f"lengths/{side}"] = logps, logps / lengths, lengths
    out["nll/chosen"] = -out["logps_avg/chosen"]
    if responses.ref_logps is not None:
        for side, index in sides.items():
            out[f"logps_drift/{side}"] = pick(responses.ratios, index)
    return out
