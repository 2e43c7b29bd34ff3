"""Log-probabilities of many responses under a frozen model, in batches of a token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from prefine.models.layouts import choose_layout
from prefine.models.policy import Policy
from prefine.models.trees import Mode, micro_batches, pack

if TYPE_CHECKING:
    from prefine.data.chat import Encoded


def response_logps(
    model: Any, encoded: Sequence[Encoded], *, max_tokens: int = 8192, bf16: bool = False, progress: Any = None
) -> list[list[tuple[float, int]]]:
    """For every item and response: the summed log-prob of its trained tokens (nats, float32) and their number.

    The model is used as it stands, without gradients. `progress` is a `Progress` that shows the items done.
    """
    if not encoded:
        return []
    policy = Policy(model, bf16=bf16).eval()
    mode = choose_layout(policy, encoded).mode
    if progress is None:
        return policy_logps(policy, encoded, max_tokens=max_tokens, mode=mode)
    with progress.task("log-probs", total=len(encoded), unit="prompts") as step:
        return policy_logps(policy, encoded, max_tokens=max_tokens, mode=mode, step=step)


def response_token_logps(model: Any, encoded: Sequence[Encoded], *, max_tokens: int = 8192) -> list[list[list[float]]]:
    """For every item and response: the log-prob of each trained token (nats, float32)."""
    if not encoded:
        return []
    policy = Policy(model).eval()
    return policy_token_logps(policy, encoded, max_tokens=max_tokens, mode=choose_layout(policy, encoded).mode)


@torch.no_grad()
def policy_logps(
    policy: Policy,
    encoded: Sequence[Encoded],
    *,
    max_tokens: int,
    mode: Mode,
    step: Callable[[int], None] | None = None,
) -> list[list[tuple[float, int]]]:
    """The same for a policy whose layout is already chosen."""
    device = next(policy.parameters()).device
    out: list[list[tuple[float, int]]] = [[] for _ in encoded]
    for batch in micro_batches(encoded, max_tokens, mode=mode):
        items = [encoded[i] for i in batch]
        sums = iter(policy.logps(pack(items, mode=mode).to(device)).tolist())
        for i, item in zip(batch, items, strict=True):
            out[i] = [(next(sums), sum(mask)) for mask in item.masks]
        if step is not None:
            step(len(batch))
    return out


@torch.no_grad()
def policy_token_logps(
    policy: Policy,
    encoded: Sequence[Encoded],
    *,
    max_tokens: int,
    mode: Mode,
    step: Callable[[int], None] | None = None,
) -> list[list[list[float]]]:
    """For every item and response: the log-prob of each trained token."""
    device = next(policy.parameters()).device
    out: list[list[list[float]]] = [[] for _ in encoded]
    for batch in micro_batches(encoded, max_tokens, mode=mode):
        items = [encoded[i] for i in batch]
        rows = iter(policy(pack(items, mode=mode).to(device), {"token_logps"})["token_logps"].tolist())
        for i, item in zip(batch, items, strict=True):
            out[i] = [next(rows)[: sum(mask)] for mask in item.masks]
        if step is not None:
            step(len(batch))
    return out
