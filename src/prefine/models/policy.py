"""The trained model as a function from packed trees to response log-probs; `models.layouts` checks that it is right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from prefine.models.attention import among, released
from prefine.models.embedding import gather_in_place
from prefine.models.head import (
    WITH_SLOPE,
    WITHOUT,
    Head,
    chunks,
    find_head,
    logits_of,
    row_statistics,
    rows_kept,
    token_logps,
)
from prefine.models.prune import last_layer
from prefine.models.tiles import PlainTiles, Tiles
from prefine.models.token_statistics import COMPARING, logit_statistics, token_statistics
from prefine.models.trees import Packed

T = TypeVar("T")
BY_RESPONSE = {"token_logps", "prompt_logps"}
"""What `Policy.forward` gives besides sums of token statistics."""


class Policy(nn.Module):
    """Response log-probs of a causal language model, and other statistics of its distribution.

    `forward(packed)` returns, by name, sums over the trained tokens of each response, (num_responses,). The
    prompts' logits are never computed unless the prompts are scored. Everything happens inside `forward`, so that
    wrappers for several processes see all weights used.
    """

    def __init__(self, model: Any, *, bf16: bool = False, fused: bool = True) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self.fused = fused and find_head(self.causal) is not None
        self.checkpointed = False
        """Whether activations are computed again in the backward pass."""
        self.prunes = True
        self.alone = False
        """Whether separate rows run one by one, since positions change with the longest row of a forward pass."""
        self._last = last_layer(self.causal)
        self.calls: list[int] | None = None
        """Where set, the layers that called attention among trees."""
        self.windows: list[int | None] | None = None
        """Where set, the windows that they asked for."""
        # In a list, so that it is no part of this module: its weights are neither trained nor saved.
        self._other: list[Policy] = []
        self.vocab_size: int | None = None
        self.divergence: Callable[..., Tensor] | None = None
        self.tiles: Tiles = PlainTiles()
        """What computes the softmax of the head; `choose_layout` may find a faster one."""
        self._room: Callable[[Tensor], Tensor] | None = None
        self._gathering: Any = None

    @property
    def causal(self) -> Any:
        """The transformers model below any adapter."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def exact(self) -> bool:
        """Whether it computes in float32 or better."""
        return not self.bf16 and self.causal.dtype in (torch.float32, torch.float64)

    def compare_with(
        self, other: Policy, *, vocab_size: int | None = None, divergence: Callable[..., Tensor] | None = None
    ) -> None:
        """Set the frozen model (reference or teacher) that `seq_kl` and `divergence` compare with.

        `other` may be this policy itself when it is an adapter: then the adapter is switched off for it. vocab_size:
        number of token ids that both models share, where their heads differ in size.
        """
        self._other, self.vocab_size, self.divergence = [other], vocab_size, divergence

    def let_go(self) -> Policy | None:
        """The frozen model, which is not kept any longer; what a teacher has stored is compared as before."""
        other, self._other = self._other, []
        return other[0] if other else None

    def gather_in_place(self, room: Callable[[Tensor], Tensor] | None) -> None:
        """Add the gradients of head and input embedding to `room(weight)`, or leave them to autograd again.

        They are the only ones whose size is that of the vocabulary.
        """
        if self._gathering is not None:
            self._gathering.remove()
        self._room = room
        self._gathering = None if room is None else gather_in_place(self.causal, room)

    def forward(
        self, packed: Packed, statistics: Collection[str] = (), targets: tuple[Tensor, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Sums over each response, in float64: `logps` and every statistic asked for, see `models.token_statistics`.

        Two are not sums: `token_logps` are (num_responses, T), zero behind a response's end, and `prompt_logps`, which
        need a `packed` with prompts, (num_prompts,). targets: stored top-k of a teacher for every label, (n, k) ids and
        log-probs.
        """
        names = set(statistics) - BY_RESPONSE
        with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=self.bf16):
            found = self._by_token(packed, names, targets)
        total = packed.num_responses + packed.num_prompts
        out = {}
        for name, sums in _sums(found, packed.response, total).items():
            out[name] = sums[: packed.num_responses]
            if name == "logps" and packed.num_prompts:
                out["prompt_logps"] = sums[packed.num_responses :]
        if "token_logps" in statistics:
            inside = packed.response < packed.num_responses
            where = (packed.response[inside], packed.place[inside])
            out["token_logps"] = _table(found["logps"][inside], *where, packed.num_responses)
        return out

    def parts(self, packed: Packed, statistics: Collection[str], sizes: Sequence[int]) -> list[int]:
        """Where to cut the responses so that `backward_by_parts` keeps all products of its head at once: the numbers of
        the first response of each part, and that behind the last.

        sizes: responses that belong together. One part where cutting saves nothing: with a frozen head, for what the
        head alone does not tell, and for rows that are not in the order of the responses.
        """
        ends = list(accumulate(sizes, initial=0))
        head = find_head(self.causal) if self.fused else None
        simple = set(statistics) - {"token_logps"} <= WITH_SLOPE | WITHOUT
        if head is None or not head.weight.requires_grad or not simple or packed.mode == "dense":
            return [0, ends[-1]]
        most = rows_kept(head, torch.bfloat16 if self.bf16 else head.weight.dtype)
        rows = [0, *torch.bincount(packed.response, minlength=ends[-1]).cumsum(0).tolist()]
        cuts = [0]
        for start, end in pairwise(ends):
            if start > cuts[-1] and rows[end] - rows[cuts[-1]] > most:
                cuts.append(start)
        return [*cuts, ends[-1]]

    def backward_by_parts(
        self,
        packed: Packed,
        statistics: Collection[str],
        cuts: Sequence[int],
        loss: Callable[[int, int, dict[str, Tensor]], Tensor],
    ) -> None:
        """Add the gradient of a sum of losses, each of which needs the numbers of neighboring responses alone.

        The body runs once, the head for one part of the responses at a time: no row of it is computed twice, and the
        products of one part alone exist. cuts: as `parts` gives them. loss: of the responses from the first number up
        to the second, given what `forward` returns for them.
        """
        with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=self.bf16):
            hidden, head = self._hidden(packed)
        names = {"logps", *statistics} - BY_RESPONSE
        grad = torch.zeros_like(hidden)
        for first, last in pairwise(cuts):
            start, end = torch.searchsorted(packed.response, torch.tensor([first, last]).to(hidden.device)).tolist()
            rows = slice(start, end)
            part, response = hidden.detach()[rows].requires_grad_(), packed.response[rows] - first
            found = row_statistics(part, head, packed.labels[rows], names)
            numbers = _sums(found, response, last - first)
            if "token_logps" in statistics:
                numbers["token_logps"] = _table(found["logps"], response, packed.place[rows], last - first)
            loss(first, last, numbers).backward()
            if part.grad is not None:
                grad[rows] = part.grad
        if hidden.requires_grad:
            hidden.backward(grad)

    def logps(self, packed: Packed) -> Tensor:
        """(num_responses,) summed log-probs alone, float32 (float64 for a float64 model)."""
        return self(packed)["logps"].to(torch.promote_types(self.causal.dtype, torch.float32))

    def _by_token(self, packed: Packed, names: set[str], targets: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
        names = {"logps", *names}
        given = {"targets": targets, "divergence": self.divergence, "vocab_size": self.vocab_size}
        compares = bool(names & COMPARING) and targets is None
        if not self.fused:
            theirs = self._frozen(Policy._logits, packed) if compares else None
            return logit_statistics(self._logits(packed), packed.labels, names, other_logits=theirs, **given)
        # The other model first: layers that are computed again in the backward pass are those of the last call.
        other_hidden, other_head = self._frozen(Policy._hidden, packed) if compares else (None, None)
        hidden, head = self._hidden(packed)
        if names == {"logps"}:
            return {"logps": token_logps(hidden, head, packed.labels)}
        return token_statistics(
            hidden, head, packed.labels, names, other_hidden=other_hidden, other_head=other_head, **given
        )

    def _frozen(self, read: Callable[[Policy, Packed], T], packed: Packed) -> T:
        """What `read` gives for the model that this one is compared with."""
        (other,) = self._other
        with other.as_reference() if other is self else torch.no_grad():
            return read(other, packed)

    def _logits(self, packed: Packed) -> Tensor:
        """(n, V) logits that predict the labels, for models whose head is not one linear layer."""
        logits = self._outputs(self.causal, "logits", packed)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def rows_of(self, packed: Packed, read: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `read` makes of the logits (c, V) of every label, given to it a chunk of rows at a time."""
        if not self.fused:
            return read(self._logits(packed))
        hidden, head = self._hidden(packed)
        weight = head.weight.to(hidden.dtype)
        found = [
            read(logits_of(hidden[rows], weight, head.bias, head.scale, head.softcap))
            for rows in chunks(len(hidden), len(weight), hidden.device)
        ]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _hidden(self, packed: Packed) -> tuple[Tensor, Head]:
        """(n, H) final hidden states that predict the labels, and the head above them."""
        decoder = getattr(self.causal, self.causal.base_model_prefix)
        hidden = self._outputs(decoder, "last_hidden_state", packed)
        head = find_head(self.causal)
        assert isinstance(head, Head)
        head.room, head.tiles = self._room, self.tiles
        return hidden.to(torch.bfloat16) if self.bf16 else hidden, head

    def _outputs(self, run: Any, name: str, packed: Packed) -> Tensor:
        """(n, ...) what a forward pass gives where labels are predicted."""
        with self._attention(packed):
            if self.alone:
                lengths = (packed.tree >= 0).sum(1).tolist()
                rows = [
                    getattr(run(input_ids=ids[None, :n], use_cache=False), name)[0]
                    for ids, n in zip(packed.ids, lengths, strict=True)
                ]
                found = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            else:
                found = getattr(run(**self._inputs(packed)), name)
        return found[packed.row, packed.column]

    def head_inputs(self, packed: Packed) -> tuple[Tensor, Head, Tensor]:
        """Final hidden states of some labels, the head above them, and the labels."""
        with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=self.bf16):
            hidden, head = self._hidden(packed)
        self.forget_rows()
        return hidden, head, packed.labels

    @contextlib.contextmanager
    def _attention(self, packed: Packed) -> Iterator[None]:
        """Attention among trees, and the rest of the last layer for the rows alone whose output is read."""
        if packed.segments is None:
            released(self.causal)
            yield
            return
        pruned = self._last if self.prunes and not packed.num_prompts else None
        if self._last is not None:
            self._last.rows = None if pruned is None else torch.unique(packed.column)
        index = None if pruned is None else pruned.index
        keep = self.checkpointed and self.training and torch.is_grad_enabled()
        seen = {"calls": self.calls, "windows": self.windows}
        with among(self.causal, packed.segments, packed.longest, pruned_layer=index, keep=keep, **seen):
            yield

    def _inputs(self, packed: Packed) -> dict[str, Any]:
        mask = None
        if packed.mode != "cascade":
            mask = (packed.tree >= 0).long() if packed.mode == "separate" else self._mask(packed)
        return {
            "input_ids": packed.ids,
            "position_ids": packed.positions,
            "use_cache": False,
            "attention_mask": mask,
        }

    def _mask(self, packed: Packed) -> Tensor:
        """A 4D mask in the form the attention implementation takes: bool for sdpa, added numbers for eager."""
        seen = packed.attention_mask()
        if self.causal.config._attn_implementation == "sdpa":
            return seen
        dtype = torch.bfloat16 if self.bf16 else self.causal.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)

    def forget_rows(self) -> None:
        """Run the last layer on all rows again, and give the model its own attention back."""
        if self._last is not None:
            self._last.rows = None
        released(self.causal)

    @contextlib.contextmanager
    def as_reference(self) -> Any:
        """The frozen start: a new adapter switched off, dropout off, no gradients."""
        training = self.training
        self.eval()
        off = self.model.disable_adapter() if hasattr(self.model, "disable_adapter") else contextlib.nullcontext()
        try:
            with torch.no_grad(), off:
                yield self
        finally:
            self.train(training)


def _sums(found: dict[str, Tensor], response: Tensor, total: int) -> dict[str, Tensor]:
    """Sums over the tokens of each response, (total,)."""
    out = {}
    for name, values in found.items():
        # A sum of thousands of float32 numbers of one sign loses digits that differences of log-probs need.
        dtype = torch.float32 if values.device.type == "mps" else torch.float64
        out[name] = torch.zeros(total, dtype=dtype, device=values.device).index_add(0, response, values.to(dtype))
    return out


def _table(values: Tensor, response: Tensor, place: Tensor, total: int) -> Tensor:
    """(total, T), zero behind a response's end."""
    width = int(place.max()) + 1 if len(place) else 1
    return values.new_zeros(total, width).index_put((response, place), values)
