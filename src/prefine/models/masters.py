"""Full-precision weights behind a model that computes in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Masters:
    """The trainable weights in float32, by name, for the optimizer; gradients gather there in float32, too.

    With `bf16` the model's weights become bfloat16 copies of the weights as they were loaded. A model in float32 (or
    float64) is its own master. `publish` copies the masters to the model after each change; `restore` gives the model
    its full-precision weights back, to be saved.
    """

    def __init__(self, model: nn.Module, *, bf16: bool = False) -> None:
        self.model = model
        self.named: dict[str, nn.Parameter] = {}
        self._shadows: dict[str, nn.Parameter] = {}
        for name, weight in model.named_parameters():
            full = weight.detach()
            if bf16 and weight.dtype == torch.float32:
                weight.data = weight.data.to(torch.bfloat16)
            if not weight.requires_grad:
                continue
            if weight.dtype in (torch.bfloat16, torch.float16):
                master = nn.Parameter(full.to(torch.float32, copy=True))
                weight.register_post_accumulate_grad_hook(_moving_to(master))
                self.named[name], self._shadows[name] = master, weight
            else:
                self.named[name] = weight

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters to what the model computes with."""
        for name, weight in self._shadows.items():
            weight.copy_(self.named[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Make the model's weights the masters themselves."""
        for name, weight in self._shadows.items():
            weight.data = self.named[name].data

    @torch.no_grad()
    def reduce(self) -> None:
        """Add up the gradients of all processes; one that a process did not touch counts as zero."""
        import torch.distributed as dist

        for master in self.named.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        grads = [m.grad for m in self.named.values() if m.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        at = 0
        for grad in grads:
            grad.copy_(flat[at : at + grad.numel()].view_as(grad))
            at += grad.numel()


def _moving_to(master: nn.Parameter) -> Any:
    def move(weight: Tensor) -> None:
        assert weight.grad is not None
        if master.grad is None:
            master.grad = weight.grad.float()
        else:
            master.grad.add_(weight.grad)
        weight.grad = None

    return move
