"""The model behind a labeler, loaded once for all labelers that name the same one."""

from __future__ import annotations

import gc
from typing import Any

from prefine.generate.hf import model_spec
from prefine.recipe import Model

_held: dict[str, tuple[Any, Any]] = {}


def teacher_spec(model: str | dict) -> Model:
    """A teacher named by its path, or by a block with the same keys as the recipe's `model`."""
    return model_spec(model)


def load_teacher(spec: Model, threads: int | None = None) -> tuple[Any, Any]:
    """The model and its tokenizer, kept until `release`; `threads` are the recipe's."""
    from prefine.models.load import load_model, load_tokenizer, set_threads

    set_threads(threads)
    key = spec.model_dump_json()
    if key not in _held:
        _held[key] = load_model(spec), load_tokenizer(spec)
    return _held[key]


def release() -> None:
    """Let go of all teachers: training needs the memory."""
    _held.clear()
    gc.collect()
