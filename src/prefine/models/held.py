"""Models that only answer or score, loaded once for all that name the same one."""

from __future__ import annotations

import gc
from typing import Any

from prefine.models.load import load_model, load_tokenizer, set_threads
from prefine.recipe import Model

_held: dict[str, tuple[Any, Any]] = {}


def hold(spec: Model, threads: int | None = None) -> tuple[Any, Any]:
    """The model and its tokenizer, kept until `release`; `threads` are the recipe's."""
    set_threads(threads)
    key = spec.model_dump_json()
    if key not in _held:
        _held[key] = load_model(spec), load_tokenizer(spec)
    return _held[key]


def release(spec: Model | None = None) -> None:
    """Let go of a model, or of all: what comes next needs the memory."""
    if spec is None:
        _held.clear()
    else:
        _held.pop(spec.model_dump_json(), None)
    gc.collect()
