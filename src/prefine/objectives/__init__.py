"""Objectives: small classes that turn response log-probs into a loss per example.

`evaluate(name, logps=..., ...)` runs any of them on plain numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefine.objectives.evaluation import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    # torch is imported with the first use, so that checking a recipe stays quick.
    if name in __all__:
        from prefine.objectives import evaluation

        return getattr(evaluation, name)
    raise AttributeError(f"module 'prefine.objectives' has no attribute '{name}'")
