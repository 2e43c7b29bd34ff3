"""Gradients of the input embedding, added to where they gather, row by row, without a second matrix of its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.hooks import RemovableHandle

Room = Callable[[Tensor], Tensor]
"""Gives the tensor that a weight's gradient is added to."""


class _Looked(torch.autograd.Function):
    """What an embedding gave, with a backward pass of its own. Autograd's makes a matrix of the weight's size."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, weight: Tensor, ids: Tensor, padding: int | None, room: Room) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding, ctx.room = weight, padding, room
        return found.view_as(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (ids,) = ctx.saved_tensors
        total = ctx.room(ctx.weight)
        flat, rows = ids.flatten(), grad.flatten(0, -2).to(total.dtype)
        if ctx.padding is not None:
            rows = rows.masked_fill((flat == ctx.padding)[:, None], 0.0)
        total.index_add_(0, flat, rows)
        return None, None, None, None, None


def gather_in_place(model: Any, room: Room) -> RemovableHandle | None:
    """Have the gradient of a model's input embedding added to `room(weight)`; autograd then gives it none.

    None, and nothing done, where it is not a plain table of rows.
    """
    table = model.get_input_embeddings()
    if type(table) is not nn.Embedding or table.sparse or table.scale_grad_by_freq or table.max_norm is not None:
        return None

    def hook(module: nn.Embedding, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not (torch.is_grad_enabled() and module.weight.requires_grad and output.requires_grad and args):
            return None
        return _Looked.apply(output.detach(), module.weight, args[0], module.padding_idx, room)  # type: ignore[no-any-return]

    return table.register_forward_hook(hook)
