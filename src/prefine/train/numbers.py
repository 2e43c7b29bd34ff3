"""From the flat numbers that a model gives for a batch to the `Responses` that an objective takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefine.models.trees import Packed
from prefine.objectives.base import Objective, Responses
from prefine.train.batches import Item

BY_EXAMPLE = {"prompt_logps"}
"""Numbers that an example has once; all others it has for each response."""


def offsets(items: Sequence[Item]) -> list[int]:
    """Where each item's responses begin among those of all."""
    out = [0]
    for item in items:
        out.append(out[-1] + len(item.encoded.responses))
    return out


@dataclass
class Batch:
    """What an objective may know of the global batch: mean tokens of chosen responses, and of those with prompts."""

    mean_length: float
    mean_prompt_length: float
    vocab_size: int


def facts_of(items: Sequence[Item], vocab_size: int) -> Batch:
    """The facts of a global batch, which every process knows without the model."""
    chosen = sum(item.lengths[0] for item in items) / len(items)
    return Batch(chosen, chosen + sum(item.prompt_length for item in items) / len(items), vocab_size)


def targets_of(items: Sequence[Item], packed: Packed) -> tuple[Tensor, Tensor]:
    """A teacher's stored tokens for every label of a packed batch: ids and log-probs, (n, k)."""
    start, flat_ids, flat_logps = 0, [], []
    for item in items:
        for ids, logps in item.targets:
            flat_ids.append(torch.as_tensor(np.asarray(ids), dtype=torch.long))
            flat_logps.append(torch.as_tensor(np.asarray(logps), dtype=torch.float32))
    begins = []
    for ids in flat_ids:
        begins.append(start)
        start += len(ids)
    at = torch.tensor(begins, device=packed.response.device)[packed.response] + packed.place
    device = packed.response.device
    return torch.cat(flat_ids).to(device)[at], torch.cat(flat_logps).to(device)[at]


def responses_of(
    items: Sequence[Item], numbers: dict[str, Tensor], objective: Objective, batch: Batch
) -> list[tuple[list[int], Responses]]:
    """One `Responses` for each number of responses that occurs, with the positions of its examples in `items`.

    numbers: by name, flat over the responses of all items in their order (`prompt_logps`: over the items); reference
    log-probs are taken from there where they are, else from the items. batch: facts of the global one.
    """
    starts = offsets(items)
    sizes: dict[int, list[int]] = {}
    for i, item in enumerate(items):
        sizes.setdefault(item.size, []).append(i)
    return [
        (where, _responses(items, where, k, starts, numbers, objective, batch)) for k, where in sorted(sizes.items())
    ]


def _responses(
    items: Sequence[Item],
    where: list[int],
    k: int,
    starts: list[int],
    numbers: dict[str, Tensor],
    objective: Objective,
    batch: Batch,
) -> Responses:
    # A few numbers per example: in float64 they cost nothing, and differences of like numbers keep their digits.
    device = numbers["logps"].device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    numbers = {name: values.to(dtype) for name, values in numbers.items()}
    logps = numbers["logps"]
    chosen = [items[i] for i in where]
    index = torch.tensor([[starts[i] + j for j in range(k)] for i in where], device=device)
    at = torch.tensor(where, device=device)
    found: dict[str, Any] = {n: v[at] if n in BY_EXAMPLE else v[index] for n, v in numbers.items() if n in _FIELDS}

    def column(values: list[list[float]]) -> Tensor:
        return torch.tensor([row[:k] for row in values], device=device, dtype=dtype)

    if objective.needs_reference and "ref_logps" not in found:
        found["ref_logps"] = column([item.ref_logps for item in chosen])
    if objective.needs_scores:
        found["scores"] = column([item.scores for item in chosen])
    if objective.needs_labels and all(item.labels for item in chosen):
        found["labels"] = column([item.labels for item in chosen])
    if objective.needs_teacher_logps:
        found["teacher_logps"] = column([item.teacher_logps for item in chosen])
    if objective.needs_mismatched:
        mismatched = torch.tensor([starts[i] + k for i in where], device=device)
        found["kl_logps"] = logps[mismatched]
        if "ref_logps" in numbers:
            found["kl_ref_logps"] = numbers["ref_logps"][mismatched]
        else:
            found["kl_ref_logps"] = torch.tensor([item.ref_logps[k] for item in chosen], device=device, dtype=dtype)
    if "ref_token_logps" in objective.statistics and "ref_token_logps" not in found:
        table = np.zeros(tuple(found["token_logps"].shape))
        for i, item in enumerate(chosen):
            for j in range(k):
                tokens = item.ref_token_logps[j]
                table[i, j, : len(tokens)] = tokens
        found["ref_token_logps"] = torch.tensor(table, device=device, dtype=dtype)
    if "prompt_logps" in objective.statistics:
        found["prompt_lengths"] = torch.tensor([item.prompt_length for item in chosen], device=device)
    lengths = torch.tensor([item.lengths for item in chosen], device=device)
    return Responses(lengths=lengths, **{**vars(batch), **found})


_FIELDS = set(Responses.__dataclass_fields__)
