"""Plackett-Luce distributions over the orders of K items."""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor


@functools.lru_cache(maxsize=16)
def permutations(k: int) -> Tensor:
    """All orders of k items, (k!, k), as itertools lists them."""
    return torch.tensor(list(itertools.permutations(range(k))))


def order_logp(values: Tensor) -> Tensor:
    """log P of the order in which the values stand: sum_k [v_k - logsumexp(v_k .. v_K)] over the last dimension."""
    return (values - values.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def all_orders_logp(values: Tensor) -> Tensor:
    """log P of every order. values: (B, K) -> (B, K!)."""
    return order_logp(values[:, permutations(values.shape[-1]).to(values.device)])


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last dimension, in nats, within [0, ln 2]."""
    mixture = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * ((log_p.exp() * (log_p - mixture)).sum(-1) + (log_q.exp() * (log_q - mixture)).sum(-1))
