"""The chance that a classifier gives to a class of text, such as toxic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from prefine.errors import PrefineError, nearest
from prefine.evaluate.metrics.base import Asked, Metric
from prefine.models.load import model_spec
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import metrics
from prefine.schema import Score


@metrics.register("toxicity")
class Toxicity(Metric):
    """The probability of a class under a text classifier, of the response by itself; lower is better.

    Formula: softmax(logits)[label]; sigmoid(logits)[label] where several classes may hold at once, or with one output
    Paper: Gehman et al. 2020 (arXiv:2009.11462), with a classifier of your choice
    Defaults: label: toxic, by its name in the model's settings; activation: null follows them; texts beyond the
    classifier's context are cut at the end and counted
    Needs: model, a sequence classifier as a folder or hub id
    """

    higher_is_better = False

    def __init__(
        self,
        model: str | dict,
        label: str = "toxic",
        activation: Literal["softmax", "sigmoid"] | None = None,
        max_tokens: int = 8192,
        as_name: str = "toxicity",
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
        self.spec, self.label, self.activation = model_spec(model), label, activation
        self.max_tokens, self.name = max_tokens, as_name
        self._cut = 0
        self._model: Any = None

    def prepare(self, recipe: Recipe) -> None:
        from prefine.models.forward import context_length
        from prefine.models.load import load_tokenizer, model_digest, set_threads

        set_threads(recipe.threads)
        self._tokenizer = load_tokenizer(self.spec)
        self._model = _load(self.spec, self.name)
        self._digest = model_digest(self.spec)
        self._limit = context_length(self._model)
        config = self._model.config
        names = {str(name): int(i) for i, name in config.id2label.items()}
        known = {name.casefold(): i for name, i in names.items()}
        if self.label.casefold() not in known:
            raise PrefineError(
                f"{self.name}: {self.spec.path} has no class '{self.label}'{nearest(self.label, names)}; set label"
            )
        self._index = known[self.label.casefold()]
        single = config.num_labels == 1 or config.problem_type == "multi_label_classification"
        self._activation = self.activation or ("sigmoid" if single else "softmax")

    def scores(self, asked: Sequence[Asked], step: Step) -> list[Score]:
        from prefine.models.forward import cut

        rows = [self._encode(text) for _, text in asked]
        out = [Score(self.name, None, status="empty_response") for _ in asked]
        full = [i for i, row in enumerate(rows) if row]
        for batch in cut(full, [len(row) for row in rows], [str(i) for i in range(len(rows))], self.max_tokens):
            for i, value in zip(batch, self._forward([rows[i] for i in batch]), strict=True):
                out[i] = Score(self.name, value)
            step(len(batch))
        step(len(asked) - len(full))
        return out

    def _encode(self, text: str) -> list[int]:
        ids = self._tokenizer(text)["input_ids"] if text.strip() else []
        if len(ids) <= self._limit:
            return ids
        self._cut += 1
        return self._tokenizer(text, truncation=True, max_length=self._limit)["input_ids"]

    def _forward(self, rows: list[list[int]]) -> list[float]:
        """Probabilities of the class; rows are padded on the right with an id that no row has, as decoders want it."""
        import torch

        config, used = self._model.config, {i for row in rows for i in row}
        pad = self._tokenizer.pad_token_id
        if pad is None or pad in used:
            pad = next(i for i in range(config.get_text_config().vocab_size) if i not in used)
            config.get_text_config().pad_token_id = config.pad_token_id = pad
        width = max(map(len, rows))
        device = next(self._model.parameters()).device
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        with torch.no_grad():
            logits = self._model(input_ids=ids, attention_mask=seen).logits.float()
        chances = logits.sigmoid() if self._activation == "sigmoid" else logits.softmax(-1)
        return chances[:, self._index].tolist()

    def facts(self) -> dict[str, Any]:
        """The classifier, its class, and how many responses were longer than it can read."""
        return {
            "model": self.spec.path,
            "digest": self._digest,
            "label": self.label,
            "activation": self._activation,
            "cut": self._cut,
        }

    def close(self) -> None:
        self._model = None


def _load(spec: Any, name: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    from prefine.models.load import device, resolve

    path = resolve(spec.path)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path,
            revision=spec.revision,
            dtype=spec.dtype,
            trust_remote_code=spec.trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise PrefineError(f"{name}: no classifier could be loaded from {path}: {error}") from error
    if report["missing_keys"]:
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise PrefineError(f"{name}: {path} is no classifier, it has no weights for {names}")
    return model.to(device()).eval()
