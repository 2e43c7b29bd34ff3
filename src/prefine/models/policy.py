"""The trained model as a function from packed trees to response log-probs, and the check that it is the right
function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from prefine.errors import PrefineError
from prefine.models.attention import Unhandled, among, released
from prefine.models.head import Head, chunks, find_head, logits_of, token_logps
from prefine.models.prune import last_layer
from prefine.models.token_statistics import COMPARING, logit_statistics, token_statistics
from prefine.models.trees import Mode, Packed, longest_path, pack

if TYPE_CHECKING:
    from prefine.data.chat import Encoded

T = TypeVar("T")


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
        self._last = last_layer(self.causal)
        self.calls: list[int] | None = None
        """Where set, the layers that called attention among trees."""
        # In a list, so that it is no part of this module: its weights are neither trained nor saved.
        self._other: list[Policy] = []
        self.vocab_size: int | None = None
        self.divergence: Callable[..., Tensor] | None = None

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

    def forward(
        self, packed: Packed, statistics: Collection[str] = (), targets: tuple[Tensor, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Sums over each response, in float64: `logps` and every statistic asked for, see `models.token_statistics`.

        Two are not sums: `token_logps` are (num_responses, T), zero behind a response's end, and `prompt_logps`, which
        need a `packed` with prompts, (num_prompts,). targets: stored top-k of a teacher for every label, (n, k) ids and
        log-probs.
        """
        names = set(statistics) - {"token_logps", "prompt_logps"}
        with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=self.bf16):
            found = self._by_token(packed, names, targets)
        total = packed.num_responses + packed.num_prompts
        out = {}
        for name, values in found.items():
            # A sum of thousands of float32 numbers of one sign loses digits that differences of log-probs need.
            dtype = torch.float32 if values.device.type == "mps" else torch.float64
            sums = torch.zeros(total, dtype=dtype, device=values.device)
            sums = sums.index_add(0, packed.response, values.to(dtype))
            out[name] = sums[: packed.num_responses]
            if name == "logps" and packed.num_prompts:
                out["prompt_logps"] = sums[packed.num_responses :]
        if "token_logps" in statistics:
            inside = packed.response < packed.num_responses
            width = int(packed.place[inside].max()) + 1 if bool(inside.any()) else 1
            table = found["logps"].new_zeros(packed.num_responses, width)
            where = (packed.response[inside], packed.place[inside])
            out["token_logps"] = table.index_put(where, found["logps"][inside])
        return out

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
        hidden, head = self._hidden(packed)
        if names == {"logps"}:
            return {"logps": token_logps(hidden, head, packed.labels)}
        other_hidden, other_head = self._frozen(Policy._hidden, packed) if compares else (None, None)
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
        with self._attention(packed):
            logits = self.causal(**self._inputs(packed)).logits[packed.row, packed.column]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def rows_of(self, packed: Packed, read: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `read` makes of the logits (c, V) of every label, given to it a chunk of rows at a time."""
        if not self.fused:
            return read(self._logits(packed))
        hidden, head = self._hidden(packed)
        weight = head.weight.to(hidden.dtype)
        found = [
            read(logits_of(hidden[rows], weight, head.bias, head.scale, head.softcap))
            for rows in chunks(len(hidden), len(weight))
        ]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _hidden(self, packed: Packed) -> tuple[Tensor, Head]:
        """(n, H) final hidden states that predict the labels, and the head above them."""
        decoder = getattr(self.causal, self.causal.base_model_prefix)
        with self._attention(packed):
            states = decoder(**self._inputs(packed)).last_hidden_state
        hidden = states[packed.row, packed.column]
        head = find_head(self.causal)
        assert isinstance(head, Head)
        return hidden.to(torch.bfloat16) if self.bf16 else hidden, head

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
        with among(self.causal, packed.segments, packed.longest, pruned_layer=index, calls=self.calls, keep=keep):
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


@dataclass
class Layout:
    """How responses are laid out for this model, and why."""

    mode: Mode
    fused: bool
    reason: str


@torch.no_grad()
def choose_layout(policy: Policy, items: Sequence[Encoded], wanted: str = "auto", tolerance: float = 1e-4) -> Layout:
    """Compare the fast ways with separate plain forwards on the model's real weights, and take the first that is right.

    Two short items of the user's own data are enough. The plain forward is the model's own, with full logits. A model
    whose sliding window is shorter than the longest item is never given trees, whatever the numbers say, nor is one
    that does not call attention once in each layer.
    """
    probe = sorted(items, key=longest_path)[:2]
    truth = plain_logps(policy, probe)
    longest = max(map(longest_path, items))
    check = _Check(policy, probe, truth, longest, tolerance if policy.exact else None)
    unfit = check.wrong("separate")
    if unfit is not None and policy.fused:
        policy.fused = False
        unfit = check.wrong("separate")
    if unfit is not None and bool(truth.isfinite().all()):
        raise PrefineError(f"model.path: several responses at once do not give this model's log-probs: {unfit}")
    head = "" if policy.fused else "; its logits are computed whole, since its head is not one linear layer"
    if wanted == "separate":
        return Layout("separate", policy.fused, "one response per row, as the recipe asks" + head)
    window = _window(policy.causal.config)
    if window is not None and longest > window:
        reason = f"one response per row: {longest} tokens exceed the window of {window}"
        return Layout("separate", policy.fused, reason + head)
    unfit = check.wrong("cascade")
    if unfit is not None and policy.prunes:
        policy.prunes = False
        unfit = check.wrong("cascade")
    if unfit is None:
        return Layout("cascade", policy.fused, "prompts shared among their responses, no padding" + head)
    reason = check.wrong("dense")
    if reason is None:
        return Layout("dense", policy.fused, f"prompts shared among their responses, with a mask ({unfit})" + head)
    return Layout("separate", policy.fused, f"one response per row: {reason}" + head)


LONGER = 256
"""Tokens that the check lengthens a response by, at most."""


@dataclass
class _Check:
    """Whether a way to lay out two items gives this model's own numbers.

    tolerance: relative to the largest log-prob; None for a model that rounds. Rounding hides errors of a few percent,
    so that only gross ones are seen in its numbers. A response's number must then stay what it is, to the last digits,
    when all else in its row changes, siblings and neighbors, their lengths too.
    """

    policy: Policy
    items: Sequence[Encoded]
    truth: Tensor
    longest: int
    tolerance: float | None

    def wrong(self, mode: Mode) -> str | None:
        """What is wrong with a mode, or None."""
        policy = self.policy
        scale = self.truth.abs().max().clamp(min=1.0)
        policy.calls = calls = []
        try:
            got = self._logps(self.items, mode)
            policy.calls = None
            moved = self._moved(got, mode) if mode != "separate" else torch.zeros_like(scale)
        except Unhandled as asked:
            return f"its attention asks for {asked}"
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            return f"this model does not take it ({type(error).__name__})"
        finally:
            policy.calls = None
            policy.forget_rows()
        layers = getattr(policy.causal.config.get_text_config(), "num_hidden_layers", None)
        if mode == "cascade" and sorted(calls) != list(range(layers or 0)):
            return f"{len(set(calls))} of {layers} layers use the attention interface"
        near = bool(((got - self.truth).abs() <= (self.tolerance or 5e-2) * scale).all())
        if not near or not bool(moved <= (self.tolerance or 2e-3) * scale):
            return "shared prompts change this model's numbers" if mode != "separate" else "other numbers"
        return None

    def _logps(self, items: Sequence[Encoded], mode: Mode) -> Tensor:
        return self.policy.logps(pack(items, mode=mode).to(self.truth.device))

    def _moved(self, got: Tensor, mode: Mode) -> Tensor:
        """How far each item's last response moves when all other responses change, siblings and neighbors."""
        moved, last = torch.zeros_like(got[0]), -1
        for item in self.items if got.numel() > 1 else []:
            last += len(item.responses)
            changed = [self._changed(other, spared=other is item) for other in self.items]
            moved = torch.maximum(moved, (self._logps(changed, mode)[last] - got[last]).abs())
        return moved

    def _changed(self, item: Encoded, *, spared: bool) -> Encoded:
        """Other tokens in all responses, or all but the last, and as many as the data has or `LONGER` more."""
        responses = []
        for tokens in item.responses[: -1 if spared else None]:
            length = max(len(tokens), min(self.longest - len(item.prompt_ids), len(tokens) + LONGER))
            other = [t - 1 if t else 1 for t in tokens]
            responses.append((other * -(-length // max(1, len(other))))[:length])
        masks = [[True] * len(r) for r in responses]
        if spared:
            responses, masks = [*responses, item.responses[-1]], [*masks, item.masks[-1]]
        return replace(item, responses=responses, masks=masks)


def plain_logps(policy: Policy, items: Sequence[Encoded]) -> Tensor:
    """Response log-probs by the model's own forward, one response at a time: slow, and the truth for every fast
    path."""
    released(policy.causal)
    policy.forget_rows()
    out = []
    device = next(policy.parameters()).device
    for item in items:
        for tokens, mask in zip(item.responses, item.masks, strict=True):
            ids = torch.tensor([item.prompt_ids + tokens], device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=policy.bf16):
                logits = policy.causal(input_ids=ids, use_cache=False).logits[0]
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            start = len(item.prompt_ids)
            logps = torch.log_softmax(logits[start - 1 : -1], -1).gather(1, ids[0, start:, None]).squeeze(1)
            out.append(logps[torch.tensor(mask, device=device)].sum())
    return torch.stack(out)


WINDOWS = {"sliding_window": "sliding", "attention_chunk_size": "chunked", "window_size": "local"}
"""Settings that limit how far a layer sees, and the kind of layer that each is about."""


def _window(config: Any) -> int | None:
    """The shortest window that a layer uses, or None."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    found = []
    for name, kind in WINDOWS.items():
        window = getattr(config, name, None)
        off = name == "sliding_window" and getattr(config, "use_sliding_window", True) is False
        if isinstance(window, int) and not off and (kinds is None or any(kind in k for k in kinds)):
            found.append(window)
    return min(found, default=None)
