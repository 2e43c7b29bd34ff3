"""The last layer for the rows alone whose output is read: exact, and free of changes to the model's parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from prefine.models.attention import NAME

PER_TOKEN = ("mlp", "self_attn.o_proj", "attention.dense")
"""Parts of a decoder layer that treat each token by itself, by the names that models give them."""


class LastLayer:
    """Hooks on the last decoder layer. While `rows` is set and attention runs among trees, its per-token parts run on
    those rows of the one row of the batch; all others come out as zero. The check before training compares the result
    with the model's own. All policies over a model share one."""

    def __init__(self, config: Any, index: int) -> None:
        self.config = config
        self.index = index
        self.rows: Tensor | None = None

    def attach(self, parts: list[nn.Module]) -> None:
        for part in parts:
            part.register_forward_pre_hook(self._select)
            part.register_forward_hook(self._spread)

    def _select(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        module._prefine_length = None  # type: ignore[assignment]
        # Outside `among` the model runs as if there were no hooks, whatever rows were read last.
        if self.rows is None or self.config._attn_implementation != NAME:
            return None
        if not args or not isinstance(args[0], Tensor) or args[0].shape[0] != 1:
            return None
        module._prefine_length = args[0].shape[1]  # type: ignore[assignment]
        return (args[0][:, self.rows], *args[1:])

    def _spread(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        length = getattr(module, "_prefine_length", None)
        if self.rows is None or length is None:
            return None
        if not isinstance(output, Tensor):
            raise TypeError("the last layer gives more than one tensor")
        module._prefine_length = None  # type: ignore[assignment]
        return output.new_zeros(1, length, output.shape[-1]).index_copy(1, self.rows, output)


def _detached(part: nn.Module) -> LastLayer | None:
    """Take away the hooks of an earlier policy over this model, or over the one that it is a copy of."""
    found = None
    for hooks in (part._forward_pre_hooks, part._forward_hooks):
        for key, hook in list(hooks.items()):
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, LastLayer):
                found = owner
                del hooks[key]
    return found


def last_layer(causal: Any) -> LastLayer | None:
    """Hooks on the last of a model's decoder layers, or None where there is no list of as many layers as its
    configuration says."""
    count = int(getattr(causal.config.get_text_config(), "num_hidden_layers", None) or 0)
    for module in causal.modules():
        if count and isinstance(module, nn.ModuleList) and len(module) == count:
            parts = _per_token_parts(module[-1])
            # An earlier policy goes on to set its rows where the hooks look for them.
            earlier = [found for part in parts if (found := _detached(part)) is not None]
            last = earlier[0] if earlier else LastLayer(causal.config, count - 1)
            last.config = causal.config
            last.attach(parts)
            return last
    return None


def _per_token_parts(layer: nn.Module) -> list[nn.Module]:
    parts = []
    for name in PER_TOKEN:
        part: Any = layer
        for step in name.split("."):
            part = getattr(part, step, None)
        if isinstance(part, nn.Module):
            parts.append(part)
    return parts
