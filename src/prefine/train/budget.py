"""How many tokens a micro-batch may have: measured on a small one, before training starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prefine.models.head import KEPT_BYTES
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import Mode, pack, tree_size
from prefine.train.batches import Item

MOST = {"cpu": 2048, "cuda": 32768}
"""More tokens at a time make nothing faster: on a CPU they leave its cache, on a GPU it is busy already."""
SHARE = 0.8
"""Of the free memory; what measuring misses, and other programs, have the rest."""
PROBE = 256
"""Tokens of the micro-batch that is measured, about."""


@dataclass
class Budget:
    """Tokens of a micro-batch, and the memory in MB that training is then expected to hold at most; free: before it."""

    max_tokens: int
    predicted_mb: float
    free_mb: float | None

    @property
    def line(self) -> str:
        free = "" if self.free_mb is None else f" of {self.free_mb:,.0f} MB free"
        return f"micro-batches of {self.max_tokens:,} tokens, about {self.predicted_mb:,.0f} MB more{free}"


def find_budget(policy: Policy, masters: Masters, items: Sequence[Item], mode: Mode, wanted: int | str) -> Budget:
    """The budget that was asked for, or with `auto` the largest useful one that fits the free memory.

    What a token costs is what autograd keeps of a small micro-batch for its backward pass.
    """
    device = next(policy.parameters()).device
    per_token, head = _kept_for_a_token(policy, items, mode), KEPT_BYTES.get(device.type, KEPT_BYTES["cpu"])
    weights = sum(p.numel() for p in masters.named.values())
    # Gradients and AdamW's two moments, in float32; the masters are there already.
    fixed = 3 * 4 * weights + (head if any(p.requires_grad for p in policy.parameters()) else 0)
    free = free_bytes(device)
    most = MOST.get(device.type, MOST["cpu"])
    if isinstance(wanted, int):
        tokens = wanted
    else:
        room = most if free is None else int((SHARE * free - fixed) / max(1.0, per_token))
        tokens = max(PROBE, min(most, room))
    longest = max(tree_size(item.encoded) for item in items)
    total = fixed + per_token * max(tokens, longest)
    return Budget(tokens, total / 2**20, None if free is None else free / 2**20)


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


def free_bytes(device: torch.device) -> int | None:
    """Memory that a program could still have, on the GPU or of this machine (or its container)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found: list[int] = []
    with suppress(OSError):
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        found += [int(match[1]) << 10] if match else []
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        found += [int(limit) - used] if limit != "max" else []
    return min(found) if found else None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
