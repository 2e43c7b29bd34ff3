"""Vectors of texts, and their lengths in tokens, for steps that clean and choose data. Loads nothing unless asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BATCH_TOKENS = 8192


class TextModels:
    """Models by path, hub id or embedded name, loaded when they are first asked for."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self._loaded = False

    def token_counter(self, model: str) -> Callable[[str], int]:
        """A function from a text to its length in tokens, without special ones."""
        from prefine.models.load import load_tokenizer
        from prefine.recipe import Model

        tokenizer = load_tokenizer(Model(path=model))
        return lambda text: len(_ids(tokenizer, text))

    def embed(self, model: str, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), width) float32: the mean of the last hidden states over a text's tokens; zeros for none.

        Texts beyond the model's context are cut at their end.
        """
        import numpy as np

        from prefine.models.forward import context_length, cut
        from prefine.models.held import hold
        from prefine.recipe import Model

        self._loaded = True
        loaded, tokenizer = hold(Model(path=model), self.threads)
        rows = [_ids(tokenizer, text)[: context_length(loaded)] for text in texts]
        out = np.zeros((len(rows), loaded.config.get_text_config().hidden_size), np.float32)
        written = [i for i, row in enumerate(rows) if row]
        for batch in cut(written, [len(r) for r in rows], list(texts), BATCH_TOKENS):
            out[batch] = _means(loaded, [rows[i] for i in batch])
        return out

    def close(self) -> None:
        """Let go of the models."""
        if self._loaded:
            from prefine.models.held import release

            release()


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def _means(model: Any, rows: list[list[int]]) -> np.ndarray:
    """(len(rows), width): padded on the right, so that positions need no help."""
    import torch

    device = next(model.parameters()).device
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.no_grad():
        hidden = inner.base_model(input_ids=ids, attention_mask=seen).last_hidden_state.float()
    return ((hidden * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)).cpu().numpy()
