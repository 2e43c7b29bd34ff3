"""The start model at the temperature where it is as diverse as the trained one: what plain cooling gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STEPS = 6
CLOSE = 0.05
"""Different responses per prompt that may remain between the two: a hundred prompts measure it to about .07."""


@dataclass(frozen=True)
class Cooled:
    """`temperature` at which the start gives `distinct` different responses a prompt; the aim was `target`.

    `steps` are the temperatures tried with what they gave, in order.
    """

    temperature: float
    distinct: float
    target: float
    steps: list[tuple[float, float]]


def match_diversity(
    distinct_at: Callable[[float], float],
    target: float,
    temperature: float,
    *,
    steps: int = STEPS,
) -> Cooled:
    """Bisect on the temperature, at most `temperature`, until the start's distinct-of-n is close to `target`.

    Diversity grows with the temperature. A trained model that is at least as diverse as the start needs no cooling: the
    start then stays at `temperature`. Halves of `temperature` are tried, so runs with one start share their samples.
    """
    tried = [(temperature, distinct_at(temperature))]
    low, high = 0.0, temperature
    while abs(tried[-1][1] - target) > CLOSE and len(tried) <= steps:
        if len(tried) == 1 and target >= tried[0][1]:
            break
        middle = (low + high) / 2
        tried.append((middle, distinct_at(middle)))
        low, high = (middle, high) if tried[-1][1] < target else (low, middle)
    best = min(tried, key=lambda t: abs(t[1] - target))
    return Cooled(best[0], best[1], target, tried)
