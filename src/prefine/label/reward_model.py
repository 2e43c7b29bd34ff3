"""The score of a reward model."""

from __future__ import annotations

from typing import Any

from prefine.errors import PrefineError
from prefine.label.base import Labeler
from prefine.models.forward import context_length, cut
from prefine.models.load import model_spec
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Group, Score


@labelers.register("reward_model")
class RewardModel(Labeler):
    """The raw output of a sequence classifier with one label, on the conversation in the reward model's own template.

    Formula: w . h(last token of the response), without a sigmoid
    Paper: Ouyang et al. 2022 (arXiv:2203.02155), section 3.5, as transformers' AutoModelForSequenceClassification
    Defaults: max_length: null is the model's context; longer conversations get no score
    Needs: model
    """

    def __init__(
        self,
        model: str | dict,
        max_length: int | None = None,
        max_tokens: int = 8192,
        as_name: str | None = None,
    ) -> None:
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length must be 2 or more, not {max_length}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
        self.spec, self.max_length, self.max_tokens = model_spec(model), max_length, max_tokens
        self.name = as_name or "reward_model"

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        from prefine.models.load import load_tokenizer, model_digest, set_threads

        set_threads(recipe.threads)
        self.tokenizer = load_tokenizer(self.spec)
        self.model = self._load()
        self.plain_text = recipe.data.plain_text
        self.limit = min(self.max_length or 1 << 30, context_length(self.model))
        return {"model": self.spec.path, "digest": model_digest(self.spec), "max_length": self.limit}

    def _load(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        from prefine.models.load import device, resolve

        path = resolve(self.spec.path)
        try:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                path,
                revision=self.spec.revision,
                dtype=self.spec.dtype,
                trust_remote_code=self.spec.trust_remote_code,
                output_loading_info=True,
            )
        except (OSError, ValueError) as error:
            raise PrefineError(f"reward_model: no classifier could be loaded from {path}: {error}") from error
        if model.config.num_labels != 1:
            raise PrefineError(f"reward_model: {path} has {model.config.num_labels} labels; a reward model has one")
        if report["missing_keys"]:
            names = ", ".join(sorted(report["missing_keys"])[:3])
            raise PrefineError(f"reward_model: {path} is no reward model, it has no weights for {names}")
        return model.to(device()).eval()

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        rows: dict[tuple[int, int], list[int]] = {}
        out: list[list[list[Score]]] = []
        for i, group in enumerate(groups):
            out.append([])
            for k in range(len(group.candidates)):
                ids, status = self._encode(group, k)
                out[i].append([Score(self.name, None, "rm", status=status)])
                if status == "ok":
                    rows[i, k] = ids
        places = list(rows)
        sizes = [len(rows[p]) for p in places]
        for batch in cut(list(range(len(places))), sizes, [f"{i}-{k}" for i, k in places], self.max_tokens):
            values = self._forward([rows[places[b]] for b in batch])
            for b, value in zip(batch, values, strict=True):
                i, k = places[b]
                out[i][k][0].value = value
            step(len(batch))
        step(sum(map(len, out)) - len(places))
        return out

    def _encode(self, group: Group, k: int) -> tuple[list[int], str]:
        from prefine.data.chat import Dropped, encode

        try:
            item = encode(self.tokenizer, group.messages, [group.candidates[k].completion], plain_text=self.plain_text)
        except Dropped as dropped:
            return [], dropped.reason
        ids = item.prompt_ids + item.responses[0]
        return ids, "ok" if len(ids) <= self.limit else "too_long"

    def _forward(self, rows: list[list[int]]) -> list[float]:
        """Padded on the right. The padding id is one that no row has, since models look for the last token by it."""
        import torch

        used = {i for row in rows for i in row}
        pad = self.tokenizer.pad_token_id
        if pad is None or pad in used:
            pad = next(i for i in range(self.model.config.get_text_config().vocab_size) if i not in used)
        self.model.config.get_text_config().pad_token_id = self.model.config.pad_token_id = pad
        width = max(map(len, rows))
        device = next(self.model.parameters()).device
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        with torch.no_grad():
            logits = self.model(input_ids=ids, attention_mask=seen).logits
        return logits[:, 0].float().tolist()
