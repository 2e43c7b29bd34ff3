"""Any objective on plain numbers: for notebooks, tests and readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor

from prefine.errors import PrefineError, nearest
from prefine.objectives.base import Objective, Responses
from prefine.registry import objectives


@dataclass
class Evaluation:
    """What an objective makes of some numbers.

    losses, weights: (B,); loss: sum(weights * losses) / sum(weights), what training minimizes. metrics: (B,) each.
    grad_logps: (B, K) gradient of the sum of losses by the log-probs, grads: the same by every other input that has
    one. state: the objective's buffers afterwards.
    """

    losses: Tensor
    weights: Tensor
    metrics: dict[str, Tensor]
    grad_logps: Tensor
    grads: dict[str, Tensor]
    state: dict[str, Tensor]

    @property
    def loss(self) -> Tensor:
        return (self.weights * self.losses).sum() / self.weights.sum()


def evaluate(
    name: str | Objective,
    *,
    logps: Any = None,
    ref_logps: Any = None,
    lengths: Any = None,
    scores: Any = None,
    labels: Any = None,
    token_logps: Any = None,
    ref_token_logps: Any = None,
    teacher_logps: Any = None,
    kl_logps: Any = None,
    kl_ref_logps: Any = None,
    overlap: Any = None,
    max_logps: Any = None,
    entropy: Any = None,
    smooth_logps: Any = None,
    z_squares: Any = None,
    seq_kl: Any = None,
    prompt_logps: Any = None,
    prompt_lengths: Any = None,
    student_logits: Any = None,
    teacher_logits: Any = None,
    vocab_size: int | None = None,
    state: Mapping[str, Any] | None = None,
    training: bool = True,
    **settings: Any,
) -> Evaluation:
    """Run the objective `name` (a registered name, an import path, or an instance) on numbers given as arrays.

    logps: (B, K) summed log-probs of the responses in nats, chosen (or best) first, K = 1 for single responses; taken
    from token_logps, (B, K, T) and zero behind a response's end, if not given. lengths: (B, K) numbers of tokens; from
    the non-zero token_logps if not given, else 1. For the other arrays see `Responses`; student_logits and
    teacher_logits, (B, K, T, V), are for distillation. Tensors and NumPy arrays are computed in their own type (half
    precision in float32), lists in that of logps, or in float64. `state` sets buffers, as `Evaluation.state` gives them
    back; `training` says whether the objective may change them. `settings` are the constructor's.

    Raises PrefineError for an unknown name, setting or shape, and for a missing array that the objective needs.

    >>> evaluate("dpo", logps=[[-3.0, -3.5]], ref_logps=[[-3.2, -2.5]], beta=0.1).losses
    tensor([0.6349], dtype=torch.float64)
    """
    objective = name if isinstance(name, Objective) else objectives.build({"name": name, **settings})
    if isinstance(name, Objective) and settings:
        raise PrefineError(f"an instance has its settings already; {', '.join(settings)} cannot be set")
    label = str(getattr(objective, "component_name", type(objective).__name__))
    given = {k: v for k, v in locals().items() if k in _ARRAYS and v is not None}
    first = next((given[k] for k in ("logps", "token_logps", "student_logits") if k in given), None)
    dtype = first.dtype if isinstance(first, Tensor) and first.is_floating_point() else torch.float64
    arrays = {k: _tensor(v, dtype) for k, v in given.items()}
    if token_logps is not None:
        arrays.setdefault("logps", arrays["token_logps"].detach().sum(-1))
        arrays.setdefault("lengths", (arrays["token_logps"] != 0).sum(-1))
    if "student_logits" in arrays:
        _distill(objective, arrays, label)
    if "logps" not in arrays:
        raise PrefineError("logps is missing: (B, K) summed log-probs, or token_logps (B, K, T)")
    leaf = arrays["logps"]
    if leaf.dim() != 2:
        raise PrefineError(f"logps must have the shape (B, K), not {tuple(leaf.shape)}")
    arrays.setdefault("lengths", torch.ones_like(leaf))
    _check(objective, arrays, label)
    inputs = {k: v.detach().clone().requires_grad_() for k, v in arrays.items() if k in _WITH_GRADIENT}
    if "logits_divergence" in arrays:
        inputs["divergence"] = arrays["logits_divergence"]
    rest = {k: v for k, v in arrays.items() if k not in inputs and k != "logits_divergence"}
    objective.train(training)
    if state:
        _restore(objective, state, label)
    output = objective(Responses(**cast(dict[str, Any], {**inputs, **rest}), vocab_size=vocab_size))
    leaves = {k: v for k, v in inputs.items() if v.is_leaf}
    found = (
        torch.autograd.grad(output.losses.sum(), list(leaves.values()), allow_unused=True)
        if output.losses.requires_grad
        else [None] * len(leaves)
    )
    grads = {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), found, strict=True)}
    weights = output.weights if output.weights is not None else objective.weight(arrays["lengths"])
    return Evaluation(
        output.losses.detach(),
        weights.detach().to(output.losses.dtype),
        output.metrics,
        grads.pop("logps"),
        grads,
        {k: v.clone() for k, v in objective.state_dict().items()},
    )


_ARRAYS = {f.name for f in fields(Responses) if "Tensor" in str(f.type)} | {"student_logits", "teacher_logits"}
_WITH_GRADIENT = {"logps", "token_logps", "smooth_logps", "z_squares", "seq_kl", "prompt_logps"}
_PER_EXAMPLE = {"kl_logps", "kl_ref_logps", "prompt_logps", "prompt_lengths"}


def _tensor(value: Any, dtype: torch.dtype) -> Tensor:
    """A floating tensor; numbers without a floating type of their own get `dtype`."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    found = (
        value.detach() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=None if kind == "f" else dtype)
    )
    return found if found.is_floating_point() else found.to(dtype)


def _distill(objective: Objective, arrays: dict[str, Tensor], label: str) -> None:
    student, teacher = arrays.pop("student_logits"), arrays.pop("teacher_logits", None)
    if teacher is None or not hasattr(objective, "token_divergence"):
        raise PrefineError(
            f"objective '{label}': student_logits go with teacher_logits and an objective that compares them"
        )
    b, k, t, v = student.shape
    each = objective.token_divergence(student.reshape(-1, v), teacher.reshape(-1, teacher.shape[-1])).view(b, k, t)  # type: ignore[operator]
    lengths = arrays.setdefault("lengths", torch.full((b, k), t))
    inside = torch.arange(t, device=student.device) < lengths[..., None]
    arrays["logits_divergence"] = torch.where(inside, each, 0.0).sum(-1)
    arrays.setdefault("logps", torch.zeros(b, k, dtype=student.dtype))


def _check(objective: Objective, arrays: dict[str, Tensor], label: str) -> None:
    b, k = arrays["logps"].shape
    size = objective.group_size
    if size is not None and k != size:
        raise PrefineError(f"objective '{label}' takes {size} responses an example, but logps has the shape ({b}, {k})")
    if size is None and k < 2 and not objective.needs_labels:
        raise PrefineError(
            f"objective '{label}' takes at least 2 responses an example, but logps has the shape ({b}, {k})"
        )
    if objective.max_group_size is not None and k > objective.max_group_size:
        raise PrefineError(
            f"objective '{label}' takes at most {objective.max_group_size} responses an example, not {k}"
        )
    for name in sorted(needed(objective) - set(arrays)):
        if name == "labels" and k == 2:
            continue
        if name == "divergence" and "logits_divergence" in arrays:
            continue
        raise PrefineError(f"objective '{label}' needs {name}")
    for name, value in arrays.items():
        want = (b,) if name in _PER_EXAMPLE else (b, k)
        deeper = name in ("token_logps", "ref_token_logps")
        if tuple(value.shape[: len(want)]) != want or value.dim() != len(want) + deeper:
            raise PrefineError(
                f"{name} must have the shape {want}{' + (T,)' if 'token' in name else ''}, not {tuple(value.shape)}"
            )


def needed(objective: Objective) -> set[str]:
    """Fields of `Responses` that an objective cannot do without."""
    out = set(objective.statistics)
    out |= {"ref_logps"} if objective.needs_reference else set()
    out |= {"scores"} if objective.needs_scores else set()
    out |= {"labels"} if objective.needs_labels else set()
    out |= {"teacher_logps"} if objective.needs_teacher_logps else set()
    out |= {"kl_logps", "kl_ref_logps"} if objective.needs_mismatched else set()
    return out | ({"prompt_lengths"} if "prompt_logps" in out else set())


def _restore(objective: Objective, state: Mapping[str, Any], label: str) -> None:
    buffers = dict(objective.named_buffers())
    for name, value in state.items():
        if name not in buffers:
            raise PrefineError(f"objective '{label}' has no state '{name}'{nearest(name, buffers)}")
        new = torch.as_tensor(value, dtype=buffers[name].dtype)
        if new.shape != buffers[name].shape:
            raise PrefineError(
                f"objective '{label}': the state '{name}' has the shape {tuple(buffers[name].shape)}, "
                f"not {tuple(new.shape)}"
            )
        buffers[name].copy_(new)
