"""What objectives on labeled responses share."""

from __future__ import annotations

import torch
from torch import Tensor

from prefine.objectives.base import Responses


def desirable(responses: Responses) -> Tensor:
    """(B, K) bool. Of pairs without labels the chosen response is the desirable one."""
    if responses.labels is not None:
        return responses.labels > 0.5
    good = torch.zeros_like(responses.logps, dtype=torch.bool)
    good[:, 0] = True
    return good


def class_mean(values: Tensor, chosen: Tensor) -> Tensor | None:
    """Mean of the chosen values, None without any."""
    return values[chosen].mean() if bool(chosen.any()) else None


def class_metrics(rewards: Tensor, good: Tensor, responses: Responses) -> dict[str, Tensor]:
    """Means over the two classes of the whole batch, (B,) each so that they average to themselves.

    A class without a response has no metric. The margin is the difference of the classes' means.
    """
    out: dict[str, Tensor] = {}
    rewards, examples = rewards.detach(), len(rewards)
    for side, chosen in (("chosen", good), ("rejected", ~good)):
        for name, values in (
            ("rewards", rewards),
            ("logps", responses.logps.detach()),
            ("lengths", responses.lengths.to(rewards.dtype)),
        ):
            mean = class_mean(values, chosen)
            if mean is not None:
                out[f"{name}/{side}"] = mean.expand(examples)
    if "rewards/chosen" in out and "rewards/rejected" in out:
        out["rewards/margins"] = out["rewards/chosen"] - out["rewards/rejected"]
    right = torch.where(good, rewards > 0, rewards < 0)
    out["rewards/signs_right"] = right.to(rewards.dtype).mean(1)
    return out
