"""BERTScore as the package bert-score computes it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from prefine.errors import PrefineError, missing_extra
from prefine.evaluate.metrics.base import Asked
from prefine.evaluate.metrics.references import ReferenceMetric, references_of
from prefine.progress import Step
from prefine.recipe import Model, Recipe
from prefine.registry import metrics
from prefine.schema import Group, Score

VALUES = ("precision", "recall", "f1")
"""In the order in which the package returns them."""


@metrics.register("bertscore")
class BertScore(ReferenceMetric):
    """Similarity of a response's and its reference's contextual embeddings, token by token: precision, recall or F1.

    Formula: R = mean over reference tokens of the largest cosine with a response token, P the other way round,
    F = 2 P R / (P + R), without idf weights or rescaling; of several references the best; an empty response is 0
    Paper: Zhang et al. 2020 (arXiv:1904.09675)
    Defaults: roberta-large; num_layers: null is the layer that bert-score chose for a model that it knows (17 for
    roberta-large); reference as for bleu
    Needs: references; a model, as a folder or hub id; the extra bertscore
    """

    def __init__(
        self,
        model: str = "roberta-large",
        num_layers: int | None = None,
        value: Literal["f1", "precision", "recall"] = "f1",
        batch_size: int = 64,
        reference: str = "reference",
        as_name: str = "bertscore",
    ) -> None:
        if num_layers is not None and num_layers < 1:
            raise ValueError(f"num_layers must be 1 or more, not {num_layers}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
        self.model, self.layers, self.value, self.batch_size = model, num_layers, value, batch_size
        self.reference, self.name = reference, as_name
        self._scorer: Any = None
        self._facts: dict[str, Any] = {}

    def check(self, groups: Sequence[Group]) -> None:
        super().check(groups)
        with _quiet():
            try:
                from bert_score.utils import model2layers
            except ImportError as error:
                raise missing_extra("bert-score", "bertscore") from error
        if self.layers is None and self.model not in model2layers:
            raise PrefineError(f"bertscore: set num_layers, the layer to take; bert-score knows none for {self.model}")

    def prepare(self, recipe: Recipe) -> None:
        from prefine.models.load import device, model_digest, resolve

        with _quiet():
            from bert_score import BERTScorer
            from bert_score.utils import model2layers

            layers = self.layers or model2layers[self.model]
            path = resolve(self.model)
            try:
                self._scorer = BERTScorer(
                    model_type=path, num_layers=layers, device=str(device()), batch_size=self.batch_size
                )
            except (OSError, ValueError, AssertionError) as error:
                raise PrefineError(f"bertscore: {self.model} cannot be used: {error}") from error
        _mend_tokenizer(self._scorer, path)
        name = self._scorer.hash.replace(path, self.model)
        self._facts = {"signature": name, "value": self.value, "digest": model_digest(Model(path=self.model))}

    def scores(self, asked: Sequence[Asked], step: Step) -> list[Score]:
        references = [references_of(group, self.reference) for group, _ in asked]
        out = [
            Score(self.name, None, status="no_reference") if not found else Score(self.name, 0.0)
            for found in references
        ]
        todo = [i for i, (_, text) in enumerate(asked) if references[i] and text.strip()]
        if todo:
            with _quiet():
                found = self._scorer.score(
                    [asked[i][1] for i in todo], [references[i] for i in todo], batch_size=self.batch_size
                )
            values = found[VALUES.index(self.value)].tolist()
            for i, value in zip(todo, values, strict=True):
                out[i].value = value
        step(len(asked))
        return out

    def facts(self) -> dict[str, Any]:
        return self._facts

    def close(self) -> None:
        self._scorer = None


def _mend_tokenizer(scorer: Any, path: str) -> None:
    """What the package leaves to its tokenizer and transformers 5 no longer does.

    With RoBERTa and GPT-2 the first word of a text gets its space in front (the package asks for it while encoding,
    which is ignored now), and a tokenizer without a limit gets the model's, since the package hands it on as it is.
    """
    from transformers import AutoTokenizer, GPT2Tokenizer, RobertaTokenizer

    from prefine.models.forward import context_length

    if isinstance(scorer._tokenizer, (GPT2Tokenizer, RobertaTokenizer)):
        scorer._tokenizer = AutoTokenizer.from_pretrained(path, use_fast=False, add_prefix_space=True)
    # The positions of these models begin behind that of the padding.
    offset = getattr(getattr(scorer._model, "embeddings", None), "padding_idx", None)
    limit = context_length(scorer._model) - (0 if offset is None else offset + 1)
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, limit)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The package warns of its own use of libraries; there is nothing for the user to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
