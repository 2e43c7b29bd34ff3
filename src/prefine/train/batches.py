"""What is trained on, in which order, and how a global batch is cut over processes and micro-batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prefine.data.chat import Encoded
from prefine.models.trees import Mode, micro_batches, tree_size


@dataclass
class Item:
    """One encoded training example: K responses (best first), with what its objective needs to know of them.

    A `mismatched` item has one more response behind the K, written for another prompt. ref_logps and ref_token_logps
    are of all responses; targets are a teacher's most likely tokens for each trained token: ids and log-probs, (n, k)
    for each response.
    """

    id: str
    encoded: Encoded
    scores: list[float] = field(default_factory=list)
    ref_logps: list[float] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    teacher_logps: list[float] = field(default_factory=list)
    ref_token_logps: list[Any] = field(default_factory=list)
    targets: list[tuple[Any, Any]] = field(default_factory=list)
    mismatched: bool = False

    @property
    def size(self) -> int:
        """K, the responses that the objective compares."""
        return len(self.encoded.responses) - self.mismatched

    @property
    def lengths(self) -> list[int]:
        """Trained tokens of each of the K responses."""
        return [sum(mask) for mask in self.encoded.masks[: self.size]]

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt that have one before them to be predicted from."""
        return len(self.encoded.prompt_ids) - 1


@dataclass
class Schedule:
    """Which examples each step sees. A function of the seed and the step alone, so that resuming needs no replay."""

    num_items: int
    batch_size: int
    total_steps: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.num_items / self.batch_size)

    def batch(self, step: int) -> list[int]:
        """Indices of the examples of optimizer step `step` (from 0). The last batch of an epoch may be smaller."""
        epoch, index = divmod(step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.num_items, generator=generator).tolist()
        return order[index * self.batch_size : (index + 1) * self.batch_size]


def total_steps(num_items: int, batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a run; `max_steps` wins over epochs."""
    return max_steps if max_steps is not None else max(1, math.ceil(epochs * math.ceil(num_items / batch_size)))


@dataclass
class MicroBatch:
    """Examples that go through the model together. A filler has the same work and no weight."""

    items: list[Item]
    filler: bool = False


def cut(items: Sequence[Item], max_tokens: int, rank: int, world: int, *, mode: Mode) -> list[MicroBatch]:
    """This process's micro-batches of a global batch. All processes compute the same cut and get equally many.

    Examples go to the process with the fewest tokens so far, the largest first. A process that would have fewer
    micro-batches than another repeats one without weight, since collective operations need equal numbers.
    """
    shares: list[list[Item]] = [[] for _ in range(world)]
    load = [0] * world
    for item in sorted(items, key=lambda item: (-tree_size(item.encoded), item.id)):
        least = load.index(min(load))
        shares[least].append(item)
        load[least] += tree_size(item.encoded)
    cuts = []
    for share in shares:
        share = share or [min(items, key=lambda item: (tree_size(item.encoded), item.id))]
        plan = micro_batches([item.encoded for item in share], max_tokens, mode=mode)
        cuts.append([MicroBatch([share[i] for i in batch], filler=not load[len(cuts)]) for batch in plan])
    most = max(map(len, cuts))
    mine = cuts[rank]
    return mine + [MicroBatch(mine[-1].items, filler=True)] * (most - len(mine))
