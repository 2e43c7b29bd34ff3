"""Sampling with transformers, on the CPU or a GPU."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from prefine.engines.drawing import Drawing
from prefine.generate.base import Generator
from prefine.models.decoding import Decoding
from prefine.models.load import model_spec
from prefine.models.sampling import Sampled, sample_ids
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import generators
from prefine.schema import Candidate, Group, Message, candidate_id


@generators.register("hf")
class HFGenerator(Drawing, Generator):
    """Samples with transformers, from the start model or from another one; the same texts in any order and batch.

    Formula: inverse of the cumulative softmax(logits / temperature) at u(seed, prompt, index, position)
    Defaults: temperature 1 and the whole vocabulary, at most 256 new tokens; model: null is the recipe's start model,
    and a path or a block like the recipe's `model` is another one; seed: null is the recipe's seed; batch_tokens: null
    is what fits the memory
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 256,
        batch_tokens: int | None = None,
        seed: int | None = None,
        model: str | dict | None = None,
    ) -> None:
        super().__init__(temperature, top_p, top_k, seed=seed)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {max_new_tokens}")
        if batch_tokens is not None and batch_tokens < 1:
            raise ValueError(f"batch_tokens must be 1 or more, not {batch_tokens}")
        self.decoding = Decoding(temperature, top_p, top_k, max_new_tokens, seed or 0)
        self.batch_tokens = batch_tokens
        self.spec = None if model is None else model_spec(model)
        self.plain_text = False
        self.model: Any = None
        self.tokenizer: Any = None
        self._generator: dict[str, str] = {}

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        from prefine.models.load import load_model, load_tokenizer, model_digest, set_threads

        set_threads(recipe.threads)
        spec = self.spec or recipe.model
        self.plain_text = recipe.data.plain_text
        if self.seed is None:
            self.decoding = replace(self.decoding, seed=recipe.seed)
        self.model, self.tokenizer = load_model(spec), load_tokenizer(spec)
        self._generator = {
            "role": "student" if self.spec is None else "pool",
            "model": spec.path,
            "digest": model_digest(spec),
            **{name: str(value) for name, value in asdict(self.decoding).items()},
        }
        return {"generator": dict(self._generator)}

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        usable = [g for g in groups if self.refusal(g) is None]
        found = sample_ids(
            self.model,
            self.tokenizer,
            [self._prompt(g) for g in usable],
            [g.id for g in usable],
            self.decoding,
            n=num_responses,
            batch_tokens=self.batch_tokens,
            step=step,
        )
        step(num_responses * (len(groups) - len(usable)))
        made = {g.id: [self._candidate(g, i, s) for i, s in enumerate(r)] for g, r in zip(usable, found, strict=True)}
        return [made.get(g.id, []) for g in groups]

    def refusal(self, group: Group) -> str | None:
        from prefine.data.chat import Dropped
        from prefine.models.forward import context_length

        try:
            return "prompt_too_long" if len(self._prompt(group)) >= context_length(self.model) else None
        except Dropped as dropped:
            return dropped.reason

    def _prompt(self, group: Group) -> list[int]:
        from prefine.data.chat import prompt_ids

        return prompt_ids(self.tokenizer, group.messages, plain_text=self.plain_text)

    def _candidate(self, group: Group, index: int, sampled: Sampled) -> Candidate:
        writer = {**self._generator, "index": str(index)}
        completion: list[Message] = [{"role": "assistant", "content": sampled.text.strip()}]
        key = ":".join([writer["digest"], writer["seed"], writer["index"]])
        return Candidate(
            candidate_id(group.id, completion, key),
            completion,
            writer,
            finish_reason=sampled.finish_reason,
            n_tokens=sampled.n_tokens,
            avg_logprob=sampled.avg_logprob,
        )
