"""Forward passes for what comes next: prompts padded on the left, with a cache of keys and values."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prefine.errors import PrefineError

MOST_TOKENS = 131_072
SHARE_OF_GPU = 0.3
CACHE_ON_CPU = 1 << 30
"""Bytes of keys and values that a batch may hold."""


def context_length(model: Any) -> int:
    """The most tokens that the model has positions for; a large number where its settings do not say."""
    return int(getattr(_text_config(model), "max_position_embeddings", None) or 1 << 30)


def tokens_that_fit(model: Any) -> int:
    """How many tokens a batch may hold in its cache of keys and values, from the model's sizes and free memory."""
    config, parameter = _text_config(model), next(model.parameters())
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // (heads or 1)
    layers, heads = getattr(config, "num_hidden_layers", None), getattr(config, "num_key_value_heads", None) or heads
    if not (layers and heads and width):
        return MOST_TOKENS // 8
    room = CACHE_ON_CPU
    if parameter.device.type == "cuda":
        room = int(SHARE_OF_GPU * torch.cuda.mem_get_info(parameter.device)[0])
    return max(1, min(MOST_TOKENS, room // (2 * layers * heads * width * parameter.element_size())))


def cut(items: list[int], size: Sequence[int], keys: Sequence[str], budget: int) -> list[list[int]]:
    """Batches whose padded size (rows times the largest) is within the budget, the largest first, at least one each.

    Items of one size stand in the order of their keys, so that the batches do not depend on the order of the items.
    """
    out: list[list[int]] = []
    for i in sorted(items, key=lambda i: (-size[i], keys[i])):
        if out and size[out[-1][0]] * (len(out[-1]) + 1) <= budget:
            out[-1].append(i)
        else:
            out.append([i])
    return out


def left_pad(rows: Sequence[list[int]], device: torch.device, more: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """ids (R, T) padded on the left, what is seen (R, T + more) with ones for tokens to come, positions (R, T)."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(r)) + r for r in rows], device=device)
    seen = torch.tensor([[0] * (width - len(r)) + [1] * (len(r) + more) for r in rows], device=device)
    return ids, seen, (seen[:, :width].cumsum(1) - 1).clamp(min=0)


def forward(model: Any, ids: Tensor, seen: Tensor, position: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
    """Logits after the last column, (R, V) float32, and the cache of keys and values."""
    out = model(
        input_ids=ids,
        attention_mask=seen,
        past_key_values=cache,
        use_cache=True,
        **_accepted(model, {"position_ids": position, "logits_to_keep": 1}),
    )
    cache = getattr(out, "past_key_values", None)
    if not hasattr(cache, "reorder_cache"):
        raise PrefineError(f"{type(model).__name__} has no cache of keys and values, which sampling needs")
    return out.logits[:, -1].float(), cache


@torch.no_grad()
def last_logits(model: Any, families: Sequence[Sequence[list[int]]]) -> Tensor:
    """Logits of the token that follows each row, (R, V) float32, one family's rows after the other's.

    What all rows of a family begin with is computed once, unless a layer would count the padding between.
    """
    device = next(model.parameters()).device
    rows = [row for family in families for row in family]
    if max(map(len, rows)) > _window(model):
        return forward(model, *left_pad(rows, device))[0]
    shared = [_shared(family) for family in families]
    of = torch.tensor([f for f, family in enumerate(families) for _ in family], device=device)
    ids, seen, position = left_pad([family[0][:k] for family, k in zip(families, shared, strict=True)], device)
    _, cache = forward(model, ids, seen, position)
    cache.reorder_cache(of)
    tails = [row[k:] for family, k in zip(families, shared, strict=True) for row in family]
    ids, more, position = left_pad(tails, device)
    start = torch.tensor(shared, device=device)[of]
    return forward(model, ids, torch.cat([seen[of], more], 1), position + start[:, None], cache)[0]


def _shared(rows: Sequence[list[int]]) -> int:
    """Length of the common beginning, at least one token shorter than any row."""
    first, last = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _window(model: Any) -> int:
    """The shortest span that a layer is limited to; a large number without one, 0 with layers that are no attention."""
    config = _text_config(model)
    if any("attention" not in kind or "linear" in kind for kind in getattr(config, "layer_types", None) or []):
        return 0
    spans = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min([span for span in spans if isinstance(span, int) and span > 0], default=1 << 30)


def _text_config(model: Any) -> Any:
    return model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config


def _accepted(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments that this architecture knows; the others work theirs out from the attention mask."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return {k: v for k, v in arguments.items() if k in _parameters(type(base))}


@functools.cache
def _parameters(architecture: type) -> frozenset[str]:
    return frozenset(inspect.signature(architecture.forward).parameters)  # type: ignore[attr-defined]
