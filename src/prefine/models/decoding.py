"""How a token is drawn from logits, with a random number that belongs to its place alone."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NUMBERS_AT_ONCE = 1 << 24
"""Probabilities held in float64 at a time."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn: `temperature=0` is greedy, `top_k=0` and `top_p=1` keep the whole vocabulary."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 (greedy) or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, not {self.top_k}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {self.max_new_tokens}")


def uniforms(seed: int, key: str, index: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), (count,) float64: a stream of SHAKE-128 with 53 bits each, the same everywhere."""
    name = f"{seed}\0{index}\0{key}".encode("utf-8", "surrogatepass")
    words = np.frombuffer(hashlib.shake_128(name).digest(8 * count), dtype="<u8")
    return (words >> np.uint64(11)) * 2.0**-53


def choose(logits: Tensor, u: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Tokens and their log-probs at temperature 1. logits: (R, V) float32; u: (R,) float64; both results (R,)."""
    rows = max(1, NUMBERS_AT_ONCE // logits.shape[1])
    if len(logits) > rows:
        parts = [choose(z, v, decoding) for z, v in zip(logits.split(rows), u.split(rows), strict=True)]
        return torch.cat([t for t, _ in parts]), torch.cat([p for _, p in parts])
    norm = torch.logsumexp(logits, -1)
    token = logits.argmax(-1) if decoding.temperature == 0 else _draw(logits, u, decoding)
    return token, logits.gather(1, token[:, None]).squeeze(1) - norm


def _draw(logits: Tensor, u: Tensor, decoding: Decoding) -> Tensor:
    """The first token whose cumulative probability, in the order of the vocabulary, exceeds u."""
    z = logits
    if decoding.temperature != 1:
        # The largest becomes 0 first: a division by a tiny temperature must not overflow.
        z = (z - z.max(-1, keepdim=True).values) / decoding.temperature
    z = _keep_top_p(_keep_top_k(z, decoding.top_k), decoding.top_p)
    mass = torch.softmax(z, -1).cumsum(-1, dtype=torch.float64)
    total = mass[:, -1]
    aim = torch.minimum(u * total, torch.nextafter(total, torch.zeros_like(total)))
    # The clamp is for outputs that are not numbers; they are reported when the response is finished.
    return torch.searchsorted(mass, aim[:, None], right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


def _keep_top_k(logits: Tensor, k: int) -> Tensor:
    if k == 0 or k >= logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k, -1).values[:, -1:], -math.inf)


def _keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The smallest set of most likely tokens whose mass reaches p."""
    if p == 1:
        return logits
    ordered, where = torch.sort(logits, dim=-1, descending=True, stable=True)
    mass = ordered.softmax(-1)
    drop = mass.cumsum(-1, dtype=torch.float64) - mass >= p
    return logits.masked_fill(torch.zeros_like(drop).scatter(-1, where, drop), -math.inf)
