"""How responses are laid out for a model, chosen by comparing its numbers with those of plain forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prefine.errors import PrefineError
from prefine.models import flex
from prefine.models.attention import Unhandled, released
from prefine.models.guard import MATRICES, fastest_tiles, slopes
from prefine.models.policy import Policy
from prefine.models.trees import Mode, longest_path, pack

if TYPE_CHECKING:
    from prefine.data.chat import Encoded


@dataclass
class Layout:
    """How responses are laid out for this model, and why."""

    mode: Mode
    fused: bool
    reason: str


@torch.no_grad()
def choose_layout(
    policy: Policy,
    items: Sequence[Encoded],
    wanted: str = "auto",
    tolerance: float = 1e-4,
    *,
    gradients: bool = False,
) -> Layout:
    """Compare the fast ways with separate plain forwards on the model's real weights, and take the first that is right.

    Two short items of the user's own data are enough. The plain forward is the model's own, with full logits. A model
    whose sliding window is shorter than the longest item is never given trees, whatever the numbers say, unless each
    layer tells its window and FlexAttention is there to keep it; nor is one that does not call attention once in each
    layer. Rows whose length changes the model's positions run one by one. With `gradients`, those by the first trained
    matrices are compared, too. Where there is a GPU, its kernels for the head are compared with plain PyTorch, and
    taken if they are right.
    """
    probe = sorted(items, key=longest_path)[:2]
    longest = max(map(longest_path, items))
    shifting = _shifting(policy.causal.config, longest)
    policy.alone = shifting is not None
    truth = plain_logps(policy, probe)
    check = _Check(policy, probe, truth, longest, tolerance if policy.exact else None, gradients)
    unfit = check.wrong("separate")
    if unfit is not None and policy.fused:
        policy.fused = False
        unfit = check.wrong("separate")
    if unfit is not None and bool(truth.isfinite().all()):
        raise PrefineError(f"model.path: several responses at once do not give this model's log-probs: {unfit}")
    if shifting is not None:
        mode, reason = "separate", f"one response after the other: positions change beyond {shifting} tokens"
    else:
        mode, reason = _best(policy, check, wanted, longest)
    if not policy.fused:
        reason += "; its logits are computed whole, since its head is not one linear layer"
    else:
        policy.tiles, slow = fastest_tiles(*policy.head_inputs(pack(probe, mode=mode).to(truth.device)))
        reason += f"; the head in plain PyTorch, since {slow}" if slow else ""
    return Layout(mode, policy.fused, reason)


def _best(policy: Policy, check: _Check, wanted: str, longest: int) -> tuple[Mode, str]:
    """The fastest mode that is right, and what to say of it."""
    if wanted == "separate":
        return "separate", "one response per row, as the recipe asks"
    window = _window(policy.causal.config)
    if window is not None and longest > window:
        if _flexible(policy) and _cascade(policy, check) is None and check.windows == _windows(policy.causal.config):
            return "cascade", f"prompts shared among their responses, no padding, windows of {window} by FlexAttention"
        return "separate", f"one response per row: {longest} tokens exceed the window of {window}"
    unfit = _cascade(policy, check)
    if unfit is None:
        return "cascade", "prompts shared among their responses, no padding"
    reason = check.wrong("dense")
    if reason is None:
        return "dense", f"prompts shared among their responses, with a mask ({unfit})"
    return "separate", f"one response per row: {reason}"


def _cascade(policy: Policy, check: _Check) -> str | None:
    """What is wrong with trees end to end, with or without the last layer for the rows alone that are read."""
    unfit = check.wrong("cascade")
    if unfit is not None and policy.prunes:
        policy.prunes = False
        unfit = check.wrong("cascade")
    return unfit


def _flexible(policy: Policy) -> bool:
    """Whether FlexAttention was right in a trial. The items of the check are too short for a window to show."""
    weight = next(policy.parameters())
    dtype = torch.bfloat16 if policy.bf16 else weight.dtype
    widths = _widths(policy.causal.config.get_text_config())
    return all(flex.trouble(weight.device.type, dtype, width) is None for width in widths)


def _widths(config: Any) -> set[int]:
    """The widths of attention heads, which may differ from layer to layer."""
    layers = list(config.per_layer_config) if getattr(config, "is_heterogeneous", False) else [config]
    return {getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads for c in layers}


LONGER = 256
"""Tokens that the check lengthens a response by, at most."""


MODES: tuple[Mode, Mode] = ("cascade", "separate")


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
    gradients: bool = False
    windows: list[int | None] = field(default_factory=list)
    """What each layer asked for in the last check."""

    def wrong(self, mode: Mode) -> str | None:
        """What is wrong with a mode, or None."""
        policy = self.policy
        scale = self.truth.abs().max().clamp(min=1.0)
        policy.calls = calls = []
        policy.windows = self.windows = []
        try:
            got = self._logps(self.items, mode)
            policy.calls = policy.windows = None
            moved = self._moved(got, mode) if mode != "separate" else torch.zeros_like(scale)
            bent = self._bent() if self.gradients and mode == "cascade" else 0.0
        except Unhandled as asked:
            return f"its attention asks for {asked}"
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            return f"this model does not take it ({type(error).__name__})"
        finally:
            policy.calls = policy.windows = None
            policy.forget_rows()
        layers = getattr(policy.causal.config.get_text_config(), "num_hidden_layers", None)
        if mode == "cascade" and sorted(calls) != list(range(layers or 0)):
            return f"{len(set(calls))} of {layers} layers use the attention interface"
        near = bool(((got - self.truth).abs() <= (self.tolerance or 5e-2) * scale).all())
        if not near or not bool(moved <= (self.tolerance or 2e-3) * scale):
            return "shared prompts change this model's numbers" if mode != "separate" else "other numbers"
        if not bent <= (1e-3 if self.tolerance else 0.2):
            return "shared prompts change this model's gradients"
        return None

    def _bent(self) -> float:
        """How far the gradient of trees is from that of separate rows, which PyTorch's own attention gives."""
        weights = [p for p in self.policy.parameters() if p.requires_grad and p.dim() > 1][:MATRICES]
        if not weights:
            return 0.0
        got, want = (slopes(lambda mode=mode: self._logps(self.items, mode), weights) for mode in MODES)
        return float((got - want).norm() / want.norm().clamp(min=1e-12))

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


def _windows(config: Any) -> list[int | None]:
    """How far each layer sees, None for one that sees all."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    return [_limit(config, kind) for kind in kinds or [None] * (getattr(config, "num_hidden_layers", None) or 1)]


def _limit(config: Any, kind: str | None) -> int | None:
    """How far a layer of some kind sees; one of no kind has every limit that there is."""
    found = []
    for name, word in WINDOWS.items():
        window = getattr(config, name, None)
        off = name == "sliding_window" and getattr(config, "use_sliding_window", True) is False
        if isinstance(window, int) and not off and (kind is None or word in kind):
            found.append(window)
    return min(found, default=None)


def _window(config: Any) -> int | None:
    """The shortest window that a layer uses, or None."""
    return min((window for window in _windows(config) if window is not None), default=None)


def _shifting(config: Any, longest: int) -> int | None:
    """Where rotary frequencies change with the longest row of a forward pass: the length from which they do; None
    where they do not, or the data has no such length."""
    config = config.get_text_config()
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    found = []
    for rope in [settings, *(v for v in settings.values() if isinstance(v, dict))]:
        kind = rope.get("rope_type") or rope.get("type")
        if kind == "longrope":
            most = rope.get("original_max_position_embeddings") or config.original_max_position_embeddings
            found.append(most)
        elif kind == "dynamic" and longest > config.max_position_embeddings:
            raise PrefineError(
                f"model.path: its positions (dynamic) change with the longest text that came before, and the longest "
                f"here has {longest} tokens: log-probs would depend on the order of the data. Set train.max_length to "
                f"{config.max_position_embeddings} at most"
            )
    return min((most for most in found if longest > most), default=None)
