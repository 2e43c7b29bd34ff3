"""The trained model as a function from packed trees to response log-probs, and the check that it is the right
function."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prefine.models.head import Head, find_head, token_logps
from prefine.models.trees import Packed, longest_path, pack

if TYPE_CHECKING:
    from prefine.data.chat import Encoded


class Policy(nn.Module):
    """Response log-probs of a causal language model.

    `forward(packed)` returns the sums over trained tokens, (num_responses,) float32. The prompts' logits are never
    computed. Everything happens inside `forward`, so that wrappers for several processes see all weights used.
    """

    def __init__(self, model: Any, *, bf16: bool = False, fused: bool = True) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self.fused = fused and find_head(self.causal) is not None

    @property
    def causal(self) -> Any:
        """The transformers model below any adapter."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def forward(self, packed: Packed) -> Tensor:
        with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=self.bf16):
            logps = self._token_logps(packed)
        sums = torch.zeros(packed.num_responses, dtype=logps.dtype, device=logps.device)
        return sums.index_add(0, packed.response, logps)

    def _token_logps(self, packed: Packed) -> Tensor:
        inputs = {"input_ids": packed.ids, "position_ids": packed.positions, "use_cache": False}
        if packed.separate:
            inputs["attention_mask"] = (packed.tree >= 0).long()
        else:
            inputs["attention_mask"] = self._mask(packed)
        if not self.fused:
            logits = self.causal(**inputs).logits[packed.row, packed.column]
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return torch.log_softmax(logits, -1).gather(1, packed.labels[:, None]).squeeze(1)
        decoder = getattr(self.causal, self.causal.base_model_prefix)
        hidden = decoder(**inputs).last_hidden_state[packed.row, packed.column]
        head = find_head(self.causal)
        assert isinstance(head, Head)
        return token_logps(hidden.to(torch.bfloat16) if self.bf16 else hidden, head, packed.labels)

    def _mask(self, packed: Packed) -> Tensor:
        """A 4D mask in the form the attention implementation takes: bool for sdpa, added numbers for eager."""
        seen = packed.attention_mask()
        if self.causal.config._attn_implementation == "sdpa":
            return seen
        dtype = torch.bfloat16 if self.bf16 else self.causal.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)

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

    separate: bool
    fused: bool
    reason: str


@torch.no_grad()
def choose_layout(policy: Policy, items: Sequence[Encoded], wanted: str = "auto", tolerance: float = 1e-3) -> Layout:
    """Compare trees with separate plain forwards on the model's real weights, and fall back to what is right.

    Two short items of the user's own data are enough. The plain forward is the model's own, with full logits. A model
    whose
    sliding window is shorter than the longest item is never given trees, whatever the numbers say.
    """
    probe = sorted(items, key=longest_path)[:2]
    truth = plain_logps(policy, probe)
    scale = truth.abs().max().clamp(min=1.0)
    slack = tolerance if not policy.bf16 and policy.causal.dtype == torch.float32 else 5e-2
    policy.fused = policy.fused and _close(policy, probe, truth, scale, slack, separate=True)
    head = "" if policy.fused else "; its logits are computed whole, since its head is not one linear layer"
    if wanted == "separate":
        return Layout(True, policy.fused, "one response per row, as the recipe asks" + head)
    window = _window(policy.causal.config)
    longest = max(map(longest_path, items))
    if window is not None and longest > window:
        return Layout(
            True, policy.fused, f"one response per row: {longest} tokens exceed the window of {window}" + head
        )
    if not _close(policy, probe, truth, scale, slack, separate=False):
        return Layout(True, policy.fused, "one response per row: shared prompts change this model's numbers" + head)
    return Layout(False, policy.fused, "prompts shared among their responses" + head)


def plain_logps(policy: Policy, items: Sequence[Encoded]) -> Tensor:
    """Response log-probs by the model's own forward, one response at a time: slow, and the truth for every fast
    path."""
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


def _close(
    policy: Policy, items: Sequence[Encoded], truth: Tensor, scale: Tensor, slack: float, separate: bool
) -> bool:
    try:
        got = policy(pack(items, separate=separate).to(truth.device))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return False
    return bool(((got - truth).abs() <= slack * scale).all())


def _window(config: Any) -> int | None:
    """The shortest sliding window that a layer uses, or None."""
    window = getattr(config, "sliding_window", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return None
    kinds = getattr(config, "layer_types", None)
    return int(window) if kinds is None or any("sliding" in k or "chunked" in k for k in kinds) else None
