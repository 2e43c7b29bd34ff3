"""How many tokens a micro-batch may have: measured on a small one, before training starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prefine.models.head import KEPT_BYTES
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import Mode, pack, tree_size
from prefine.train.batches import Item
from prefine.train.memory import free_bytes, held_mb

MOST = {"cpu": 1024, "cuda": 32768}
"""More tokens at a time make nothing faster: on a CPU they leave its cache, on a GPU it is busy already.

A CPU in bfloat16 takes twice as many: its products are faster, the sums of gradients behind each micro-batch are not.
"""
SHARE = 0.8
"""Of the free memory; what measuring misses, and other programs, have the rest."""
PROBE = 256
"""Tokens of the micro-batch that is measured, about."""


@dataclass
class Budget:
    """Tokens of a micro-batch, and memory in MB: held now, what training adds to it at most, free now."""

    max_tokens: int
    held_mb: float
    added_mb: float
    free_mb: float | None

    @property
    def predicted_mb(self) -> float:
        """The peak that is expected."""
        return self.held_mb + self.added_mb

    @property
    def line(self) -> str:
        free = "" if self.free_mb is None else f" of {self.free_mb:,.0f} MB free"
        return (
            f"micro-batches of {self.max_tokens:,} tokens; expected peak of memory {self.predicted_mb:,.0f} MB, "
            f"{self.added_mb:,.0f} MB{free} more than now"
        )


def find_budget(policy: Policy, masters: Masters, items: Sequence[Item], mode: Mode, wanted: int | str) -> Budget:
    """The budget that was asked for, or with `auto` the largest useful one that fits the free memory.

    What a token costs is what autograd keeps of a small micro-batch for its backward pass.
    """
    device = next(policy.parameters()).device
    per_token, head = _kept_for_a_token(policy, items, mode), KEPT_BYTES.get(device.type, KEPT_BYTES["cpu"])
    weights = sum(p.numel() for p in masters.named.values())
    # Gradients and AdamW's two moments, in float32; the masters are there already.
    fixed = 3 * 4 * weights
    free = free_bytes(device)
    most = MOST.get(device.type, MOST["cpu"])
    if device.type == "cpu" and not policy.exact:
        most *= 2
    if isinstance(wanted, int):
        tokens = wanted
    else:
        room = most if free is None else int((SHARE * free - fixed - head) / max(1.0, per_token))
        tokens = max(PROBE, min(most, room))
    longest = max(tree_size(item.encoded) for item in items)
    largest = max(tokens, longest)
    logits = largest * policy.causal.get_output_embeddings().weight.shape[0] * 4
    total = fixed + min(head, logits) + per_token * largest
    return Budget(tokens, held_mb(device), total / 2**20, None if free is None else free / 2**20)


def _kept_for_a_token(policy: Policy, items: Sequence[Item], mode: Mode) -> float:
    """Bytes that a forward pass keeps for the backward pass, for each token of its input."""
    chosen: list[Item] = []
    for item in sorted(items, key=lambda i: (tree_size(i.encoded), i.id)):
        chosen.append(item)
        if sum(tree_size(i.encoded) for i in chosen) >= PROBE:
            break
    parameters = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    packed = pack([item.encoded for item in chosen], mode=mode).to(next(policy.parameters()).device)
    training = policy.training
    policy.train()
    state = torch.random.get_rng_state()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        out = policy(packed)
    del out
    policy.forget_rows()
    torch.random.set_rng_state(state)
    policy.train(training)
    return sum(kept.values()) / max(1, packed.tokens)
