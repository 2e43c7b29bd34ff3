"""Log-probabilities of labels, and what else is asked of each row's softmax, without a [tokens, vocabulary] matrix."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prefine.models.tiles import (
    ENTROPY,
    NORM,
    OVERLAP,
    TARGET,
    TOP,
    TOTAL,
    WHERE,
    PlainTiles,
    Shape,
    Tiles,
    empty_table,
    exact,
    finished,
)

LOGITS_IN_CHUNK = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Logits at a time; on a CPU they should stay in its cache."""
ROWS_IN_TILE = {"cpu": 512, "cuda": 4096}
"""Rows at a time: every group of rows reads the whole weight of the head once."""
KEPT_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}
"""Products of hidden states and weights that may be kept for the backward pass of a trained head."""

WITH_SLOPE = frozenset({"logps", "smooth_logps", "z_squares"})
WITHOUT = frozenset({"overlap", "max_logps", "entropy", "hits"})
"""Statistics that tiles give, with and without a gradient."""


@dataclass
class Head:
    """The output layer of a causal language model: logits = cap(scale * (hidden @ weight.T + bias)).

    tiles: what computes the softmax. room: where set, what gives the tensor to which the gradient of a weight is added
    in place; the weight then gets none from autograd, and nothing of its size is made.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    tiles: Tiles = field(default_factory=PlainTiles)
    room: Callable[[Tensor], Tensor] | None = None


def rows_kept(head: Head, dtype: torch.dtype) -> int:
    """Rows whose products with a trained head, in the type of computation, may be kept."""
    most = KEPT_BYTES.get(head.weight.device.type, KEPT_BYTES["cpu"])
    return most // (len(head.weight) * dtype.itemsize)


def find_head(model: Any) -> Head | None:
    """The head of a transformers model, or None when it is not one linear layer.

    Whether the formula above is all that the model does is not taken on trust: the check before training compares it
    with the model's own logits.
    """
    layer = model.get_output_embeddings()
    if type(layer) is not torch.nn.Linear:
        return None
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    return Head(layer.weight, layer.bias, scale, float(cap) if cap else None)


def token_logps(hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
    """log p(label) for every row, in float32 (float64 for a float64 model).

    hidden: (n, H) final hidden states that predict `labels`: (n,). Sums run in float32.
    """
    return row_statistics(hidden, head, labels, {"logps"})["logps"]


def row_statistics(hidden: Tensor, head: Head, labels: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """Those of `WITH_SLOPE` and `WITHOUT` that are asked for, (n,) each; `logit_statistics` says what they are."""
    order = tuple(sorted(names))
    return dict(zip(order, _Rows.apply(hidden, head.weight, head.bias, labels, order, head), strict=True))


class _Rows(torch.autograd.Function):
    """Three ways to a gradient, by tiles of logits, so that memory does not grow with the vocabulary.

    With a frozen head, the gradient of each row's log-prob by its hidden state is worked out at once: two matrix
    products. With a trained head, the products of as many rows as fit `KEPT_BYTES` are kept: three. The others' are
    computed again: four. A policy that can gives the rows a few trees at a time.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        names: tuple[str, ...],
        head: Head,
    ) -> tuple[Tensor, ...]:
        vocabulary, slopes = weight.shape[0], WITH_SLOPE.intersection(names)
        trained = bool(slopes) and any(ctx.needs_input_grad[1:3])
        at_once = slopes == {"logps"} and ctx.needs_input_grad[0] and not trained
        work = _Work(hidden, weight, bias, labels, head)
        fit = min(len(labels), rows_kept(head, hidden.dtype))
        kept = hidden.new_empty(fit if trained else 0, vocabulary)
        unit = torch.empty_like(hidden) if at_once else None
        table = empty_table(len(labels), hidden, whole=not {"logps", "z_squares"}.issuperset(names))
        with torch.autocast(hidden.device.type, enabled=False):
            whole = hidden.new_empty(work.height(fit), vocabulary) if at_once else None
            for rows in work.groups(len(kept), work.height(fit) if at_once else None):
                room = kept[rows] if rows.stop <= len(kept) else None
                if whole is not None:
                    room = whole[: rows.stop - rows.start]
                work.add(rows, room, table[:, rows])
                if unit is not None:
                    mix = _mix({"logps": torch.ones_like(table[NORM, rows])}, table[NORM, rows], vocabulary)
                    unit[rows] = work.slopes(rows, room, table[NORM, rows], mix)
        out = _read(table, labels, names, vocabulary)
        ctx.save_for_backward(hidden, weight, bias, labels, unit, table[NORM])
        # Not among the saved tensors, so that they go as soon as they are used.
        ctx.kept, ctx.names, ctx.head = kept, names, head
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(out[name] for name in names if name in WITHOUT))
        return tuple(out[name] for name in names)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, labels, unit, norm = ctx.saved_tensors
        given = {k: g for k, g in zip(ctx.names, grads, strict=True) if g is not None and k in WITH_SLOPE}
        if unit is not None and given:
            return (unit * given["logps"][:, None]).to(hidden.dtype), None, None, None, None, None
        kept, ctx.kept = ctx.kept, None
        want_h, want_w, want_b = ctx.needs_input_grad[:3]
        d_hidden = torch.zeros_like(hidden) if want_h else None
        d_weight = weight_gradient(ctx.head) if want_w else None
        d_bias = torch.zeros(len(weight), dtype=norm.dtype, device=weight.device) if want_b else None
        work = _Work(hidden, weight, bias, labels, ctx.head)
        mix = _mix(given, norm, len(weight))
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in work.groups(0 if kept is None else len(kept)) if given else []:
                room = kept[rows] if kept is not None and rows.stop <= len(kept) else None
                found = work.slopes(rows, room, norm[rows], mix[:, rows], d_weight, d_bias, by_hidden=want_h)
                if d_hidden is not None:
                    d_hidden[rows] = found
        d_weight = None if d_weight is None or ctx.head.room is not None else d_weight.to(weight.dtype)
        return d_hidden, d_weight, None if d_bias is None else d_bias.to(bias.dtype), None, None, None


class _Work:
    """The products of some rows with all columns of the vocabulary, a tile at a time."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, head: Head) -> None:
        self.hidden, self.weight, self.labels, self.tiles = hidden, weight, labels, head.tiles
        self.shape = Shape(bias, head.scale, head.softcap)

    def limit(self, table: dict[str, int]) -> int:
        return table.get(self.hidden.device.type, table["cpu"])

    def height(self, most: int) -> int:
        """Rows of a group of which all products exist at once."""
        return max(16, min(most, self.limit(ROWS_IN_TILE), len(self.labels)))

    def groups(self, kept: int, height: int | None = None) -> list[slice]:
        """Rows that go together; none of them are partly kept."""
        size, n = height or self.limit(ROWS_IN_TILE), len(self.labels)
        return [
            slice(i, min(i + size, end))
            for start, end in ((0, min(kept, n)), (min(kept, n), n))
            for i in range(start, end, size)
        ]

    def columns(self, rows: slice) -> list[slice]:
        size, vocabulary = max(1, self.limit(LOGITS_IN_CHUNK) // (rows.stop - rows.start)), len(self.weight)
        return [slice(i, min(i + size, vocabulary)) for i in range(0, vocabulary, size)]

    def product(self, rows: slice, cols: slice, room: Tensor | None) -> Tensor:
        weight = self.weight[cols].to(self.hidden.dtype)
        if room is None:
            return self.hidden[rows] @ weight.t()
        return torch.mm(self.hidden[rows], weight.t(), out=room[:, cols])

    def add(self, rows: slice, room: Tensor | None, table: Tensor) -> None:
        """Sums over all columns. room: (c, V) where the products are to stay."""
        for cols in self.columns(rows):
            product = self.product(rows, cols, room)
            self.tiles.add(product, cols.start, self.labels[rows], table, self.shape)

    def slopes(
        self,
        rows: slice,
        room: Tensor | None,
        norm: Tensor,
        mix: Tensor,
        d_weight: Tensor | None = None,
        d_bias: Tensor | None = None,
        *,
        by_hidden: bool = True,
    ) -> Tensor:
        """The gradient by the hidden states, (c, H); those by weight and bias are added to what is given. room: the
        products where they were kept; they are overwritten."""
        hidden = self.hidden[rows]
        d_hidden = torch.zeros(hidden.shape, dtype=norm.dtype, device=hidden.device)
        for cols in self.columns(rows):
            product = self.product(rows, cols, None) if room is None else room[:, cols]
            d = self.tiles.slope(product, cols.start, self.labels[rows], norm, mix, self.shape)
            if by_hidden:
                add_product(d_hidden, d, self.weight[cols].to(d.dtype))
            if d_weight is not None:
                add_product(d_weight[cols], d.t(), hidden)
            if d_bias is not None:
                d_bias[cols] += d.sum(0, dtype=norm.dtype)
        return d_hidden


def _mix(grads: dict[str, Tensor], norm: Tensor, vocabulary: int) -> Tensor:
    """Coefficients of the label, of the probabilities and of all columns alike, in the gradient by the logits."""
    mix = norm.new_zeros(3 if "smooth_logps" in grads else 2, len(norm))
    if (g := grads.get("logps")) is not None:
        mix[0] += g
        mix[1] -= g
    if (g := grads.get("smooth_logps")) is not None:
        mix[1] -= g
        mix[2] += g / vocabulary
    if (g := grads.get("z_squares")) is not None:
        mix[1] += 2 * norm * g
    return mix


def _read(table: Tensor, labels: Tensor, names: Collection[str], vocabulary: int) -> dict[str, Tensor]:
    norm = table[NORM]
    ways: dict[str, Callable[[], Tensor]] = {
        "logps": lambda: table[TARGET] - norm,
        "smooth_logps": lambda: table[TOTAL] / vocabulary - norm,
        "z_squares": lambda: norm**2,
        "overlap": lambda: table[OVERLAP].clone(),
        "max_logps": lambda: table[TOP] - norm,
        "entropy": lambda: table[ENTROPY].clone(),
        "hits": lambda: (table[WHERE].long() == labels).to(norm.dtype),
    }
    return {name: ways[name]() for name in names}


def weight_gradient(head: Head) -> Tensor:
    """Where the gradient of a head's weight is summed up: in float32 or better."""
    if head.room is not None:
        return head.room(head.weight)
    return torch.zeros(head.weight.shape, dtype=exact(head.weight.dtype), device=head.weight.device)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, where total may have more digits than a and b."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


def logits_of(hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, cap: float | None) -> Tensor:
    """(n, V) logits in the dtype of `exact`; the weight has the dtype of the hidden states."""
    return finished((hidden @ weight.t()).to(exact(hidden.dtype)), bias, scale, cap)


def chunks(rows: int, vocabulary: int, device: torch.device | None = None) -> list[slice]:
    """Slices of rows whose logits are few enough to be held at once."""
    most = LOGITS_IN_CHUNK.get(device.type if device else "cpu", LOGITS_IN_CHUNK["cpu"])
    size = max(16, most // vocabulary)
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]
