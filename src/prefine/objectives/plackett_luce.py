"""Plackett-Luce distributions over the orders of K items, and what objectives on ranked lists share."""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor

from prefine.objectives.base import Responses, side_metrics

Stages = list[tuple[Tensor, Tensor]]
"""For m = K..1: log-probability that a set of m items is what is left to rank, (B, sets), and that of each of its items
to be ranked next, (B, sets, m)."""


@functools.lru_cache(maxsize=16)
def permutations(k: int) -> Tensor:
    """All orders of k items, (k!, k), as itertools lists them."""
    return torch.tensor(list(itertools.permutations(range(k))))


@functools.lru_cache(maxsize=16)
def combinations(n: int, k: int) -> Tensor:
    """All sets of k out of n items, (sets, k), as itertools lists them."""
    return torch.tensor(list(itertools.combinations(range(n), k)))


def order_logp(values: Tensor) -> Tensor:
    """log P of the order in which the values stand: sum_k [v_k - logsumexp(v_k .. v_K)] over the last dimension."""
    k = values.shape[-1]
    stages = [values[..., i] - values[..., i:].logsumexp(-1) for i in range(k - 1)]
    return torch.stack(stages, -1).sum(-1) if stages else torch.zeros_like(values[..., 0])


def all_orders_logp(values: Tensor) -> Tensor:
    """log P of every order. values: (..., K) -> (..., K!)."""
    return order_logp(values[..., permutations(values.shape[-1]).to(values.device)])


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last dimension, in nats, within [0, ln 2]."""
    mixture = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * ((log_p.exp() * (log_p - mixture)).sum(-1) + (log_q.exp() * (log_q - mixture)).sum(-1))


def stages(values: Tensor) -> Stages:
    """The distribution as a walk from the full set to one item, which costs 2^K K instead of K!. values: (B, K)."""
    out: Stages = []
    reach = torch.zeros_like(values[:, :1])
    for members, above in _sets(values.shape[1]):
        if out:
            reach = _joint(out[-1]).flatten(1)[:, above.to(values.device)].logsumexp(-1)
        out.append((reach, values[:, members.to(values.device)].log_softmax(-1)))
    return out


def order_kl(p: Stages, q: Stages) -> Tensor:
    """(B,) KL(P || Q) over orders, by the chain rule: the sum of P(set is left) KL(next item's distributions)."""
    terms = [_joint(s).exp() * (s[1] - other) for s, (_, other) in zip(p, q, strict=True)]
    return torch.stack([t.sum((1, 2)) for t in terms]).sum(0)


def order_entropy(p: Stages) -> Tensor:
    """(B,) entropy of the order, in [0, ln K!]."""
    return -torch.stack([(_joint(s).exp() * s[1]).sum((1, 2)) for s in p]).sum(0)


def _joint(stage: tuple[Tensor, Tensor]) -> Tensor:
    return stage[0][..., None] + stage[1]


@functools.lru_cache(maxsize=16)
def _sets(n: int) -> list[tuple[Tensor, Tensor]]:
    """For m = n..1 the sets of m items, (sets, m), and where they come from, (sets, n - m): flat indices of (set, item
    that leaves it) one size up."""
    out, rows = [], {tuple(range(n)): 0}
    for m in range(n, 0, -1):
        members = list(itertools.combinations(range(n), m))
        above = []
        for chosen in members if m < n else []:
            larger = [(tuple(sorted((*chosen, j))), j) for j in range(n) if j not in chosen]
            above.append([rows[whole] * (m + 1) + whole.index(j) for whole, j in larger])
        out.append((torch.tensor(members), torch.tensor(above, dtype=torch.long)))
        rows = {s: i for i, s in enumerate(members)}
    return out


def ranking_nll(values: Tensor, scores: Tensor, top_k: int | None = None) -> Tensor:
    """-log P of the scores' descending order, averaged over the orders that agree with it where scores tie; (B,).

    Ties are settled block by block: after the higher scores are ranked, every subset of a block of equals is left over
    with the same probability as all others of its size, so that a sum over the 2^K sets replaces the orders. top_k:
    only the first stages, those that choose ranks 1 to top_k.
    """
    k = values.shape[1]
    inside, binomial = (t.to(values.device) for t in (_membership(k), _binomials(k)))
    top = torch.where(inside, scores[:, None], -math.inf).amax(-1, keepdim=True)
    level = scores[:, None] == top
    head = inside & level
    lower_missing = ((scores[:, None] < top) & ~inside).any(-1)
    share = 1 / binomial[level.sum(-1), head.sum(-1)].to(values.dtype)
    left_out = lower_missing if top_k is None else lower_missing | (inside.sum(-1) <= k - top_k)
    total = torch.where(inside, values[:, None], -math.inf).logsumexp(-1)
    ranked = torch.where(head, values[:, None], 0).sum(-1) / head.sum(-1)
    return torch.where(left_out, 0, share * (total - ranked)).sum(-1)


@functools.lru_cache(maxsize=16)
def _membership(n: int) -> Tensor:
    """(2^n - 1, n): which items are in each set but the empty one."""
    return (torch.arange(1, 2**n)[:, None] >> torch.arange(n) & 1).bool()


@functools.lru_cache(maxsize=16)
def _binomials(n: int) -> Tensor:
    return torch.tensor([[math.comb(i, j) for j in range(n + 1)] for i in range(n + 1)])


def kendall_tau(a: Tensor, b: Tensor) -> Tensor:
    """(B,) concordant minus discordant pairs over all pairs; a tie in either is neither."""
    concordance = (a[:, :, None] - a[:, None]).sign() * (b[:, :, None] - b[:, None]).sign()
    return concordance.sum((1, 2)) / (a.shape[1] * (a.shape[1] - 1))


def top1_agree(values: Tensor, scores: Tensor) -> Tensor:
    """(B,) 1 where the item with the highest value has the highest score, also if it shares that."""
    picked = scores.gather(1, values.argmax(1, keepdim=True)).squeeze(1)
    return (picked == scores.amax(1)).to(values.dtype)


def list_metrics(rewards: Tensor, scores: Tensor, responses: Responses, prefix: str = "ranking") -> dict[str, Tensor]:
    """Metrics of the best and the worst response by score, and of how the rewards' order agrees. rewards: (B, K)."""
    rewards, best, worst = rewards.detach(), scores.argmax(1), scores.argmin(1)
    chosen, rejected = (rewards.gather(1, i[:, None]).squeeze(1) for i in (best, worst))
    return {
        **side_metrics(chosen, rejected, responses, best, worst),
        f"{prefix}/top1_agree": top1_agree(rewards, scores),
        f"{prefix}/kendall_tau": kendall_tau(rewards, scores),
    }


def best_mean(values: Tensor, scores: Tensor) -> Tensor:
    """(B,) the value of the item with the highest score; the mean over those that share it."""
    best = scores == scores.amax(1, keepdim=True)
    return torch.where(best, values, 0).sum(1) / best.sum(1)
