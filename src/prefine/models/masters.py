"""Full-precision weights behind a model that computes in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BUCKET = 1 << 22
"""Numbers of small gradients that are added up over processes in one call; larger ones are, where they lie."""


class Masters:
    """The trainable weights in float32, by name, for the optimizer; gradients gather there in float32, too.

    With `bf16` the model's weights become bfloat16 copies of the weights as they were loaded. A model in float32 (or
    float64) is its own master. `publish` copies the masters to the model after each change; `restore` gives the model
    its full-precision weights back, to be saved: frozen ones, too, unless there is an adapter, which is saved without
    them.
    """

    def __init__(self, model: nn.Module, *, bf16: bool = False) -> None:
        self.model = model
        self.named: dict[str, nn.Parameter] = {}
        self._shadows: dict[str, nn.Parameter] = {}
        self._of: dict[int, nn.Parameter] = {}
        self._frozen: list[tuple[nn.Parameter, Tensor]] = []
        below = hasattr(model, "peft_config")
        for name, weight in model.named_parameters():
            full = weight.detach()
            if bf16 and weight.dtype == torch.float32:
                weight.data = weight.data.to(torch.bfloat16)
            if not weight.requires_grad:
                if weight.dtype != full.dtype and not below:
                    self._frozen.append((weight, full))
                continue
            if weight.dtype in (torch.bfloat16, torch.float16):
                master = nn.Parameter(full.to(torch.float32, copy=True))
                weight.register_post_accumulate_grad_hook(_moving_to(master))
                self.named[name], self._shadows[name] = master, weight
            else:
                self.named[name] = weight
            self._of[id(weight)] = self.named[name]

    def room(self, weight: Tensor) -> Tensor:
        """Where the gradient of one of the model's trainable weights gathers, for those who add to it in place."""
        master = self._of[id(weight)]
        if master.grad is None:
            master.grad = torch.zeros_like(master)
        return master.grad

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
        for weight, full in self._frozen:
            weight.data = full

    @torch.no_grad()
    def reduce(self) -> None:
        """Add up the gradients of all processes; one that a process did not touch counts as zero."""
        import torch.distributed as dist

        for master in self.named.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        small: list[Tensor] = []
        for master in self.named.values():
            grad = master.grad
            if grad is not None and grad.numel() < BUCKET:
                small.append(grad)
            elif grad is not None:
                dist.all_reduce(grad)
            if sum(g.numel() for g in small) >= BUCKET:
                _reduce_together(small)
                small = []
        _reduce_together(small)


def _reduce_together(grads: list[Tensor]) -> None:
    import torch.distributed as dist

    if not grads:
        return
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def _moving_to(master: nn.Parameter) -> Any:
    def move(weight: Tensor) -> None:
        if weight.grad is None:
            # It went to `room`.
            return
        if master.grad is None:
            master.grad = weight.grad.float()
        else:
            master.grad.add_(weight.grad)
        weight.grad = None

    return move
