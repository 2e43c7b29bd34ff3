"""Optimizer and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from prefine.recipe import Train


def make_optimizer(parameters: Iterable[torch.nn.Parameter], train: Train) -> torch.optim.AdamW:
    """AdamW with the recipe's settings, over the trainable parameters."""
    return torch.optim.AdamW(
        [p for p in parameters if p.requires_grad],
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        weight_decay=train.weight_decay,
        fused=True,
    )


def learning_rate(train: Train, step: int, total: int) -> float:
    """The rate of optimizer step `step` (from 0) of `total`.

    Warm-up rises linearly over `warmup_ratio` of the steps and never starts at 0; then constant, linear to 0, or half
    a cosine
    to 0, as in transformers' schedules of the same names.
    """
    warmup = math.ceil(train.warmup_ratio * total)
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if train.lr_scheduler_type == "constant":
        return train.learning_rate
    if train.lr_scheduler_type == "linear":
        return train.learning_rate * (1 - done)
    return train.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
