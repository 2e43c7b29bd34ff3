"""What is trained on, in which order, and how a global batch is cut over processes and micro-batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prefine.data.chat import Encoded
from prefine.models.trees import micro_batches, tree_size
from prefine.objectives.base import Responses


@dataclass
class Item:
    """One encoded training example: K responses (best first), with their scores and reference log-probs if needed."""

    id: str
    encoded: Encoded
    scores: list[float] = field(default_factory=list)
    ref_logps: list[float] = field(default_factory=list)

    @property
    def lengths(self) -> list[int]:
        return [sum(mask) for mask in self.encoded.masks]


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


def cut(items: Sequence[Item], max_tokens: int, rank: int, world: int, *, separate: bool) -> list[MicroBatch]:
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
        plan = micro_batches([item.encoded for item in share], max_tokens, separate=separate)
        cuts.append([MicroBatch([share[i] for i in batch], filler=not load[len(cuts)]) for batch in plan])
    most = max(map(len, cuts))
    mine = cuts[rank]
    return mine + [MicroBatch(mine[-1].items, filler=True)] * (most - len(mine))


def by_group_size(items: Sequence[Item], logps: Tensor) -> list[tuple[list[int], Responses]]:
    """Split a micro-batch's flat log-probs (num_responses,) into one `Responses` per number of responses.

    Returns the positions in `items` that each `Responses` holds, so that losses can be told apart by example.
    """
    like = {"device": logps.device, "dtype": logps.dtype}
    start, where = 0, {}
    for i, item in enumerate(items):
        k = len(item.encoded.responses)
        where.setdefault(k, []).append((i, start))
        start += k
    out = []
    for k, found in sorted(where.items()):
        chosen = [items[i] for i, _ in found]
        index = torch.tensor([[s + j for j in range(k)] for _, s in found], device=logps.device)
        out.append(
            (
                [i for i, _ in found],
                Responses(
                    logps[index],
                    torch.tensor([item.lengths for item in chosen], device=logps.device),
                    torch.tensor([item.ref_logps for item in chosen], **like) if chosen[0].ref_logps else None,
                    torch.tensor([item.scores for item in chosen], **like) if chosen[0].scores else None,
                ),
            )
        )
    return out
