"""Responses of a model to the evaluation prompts, sampled once and shared by every evaluation of a run directory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefine.data.chat import prompt_ids
from prefine.evaluate.length import words
from prefine.evaluate.prompts import asked_ids
from prefine.evaluate.statistics import mean
from prefine.models.load import load_model, load_tokenizer, model_digest
from prefine.models.sampling import Decoding, Sampled, sample_ids
from prefine.progress import Progress
from prefine.recipe import Model
from prefine.rundir import Counts, RunDir, StageDir, run_stage, stage_key
from prefine.schema import Candidate, Group, candidate_id, digest

PART = 512
SMALL = 1 << 30
"""Bytes of loaded models up to which another one is loaded beside them."""
TOKEN_IDS = "token_ids"


@dataclass
class Answers:
    """What one model answered: for each prompt (by group id) its responses, all drawn at `temperature`."""

    name: str
    temperature: float
    responses: dict[str, list[Candidate]] = field(default_factory=dict)

    def scores(self, ids: Sequence[str], scorer: str) -> list[list[float | None]]:
        """For each prompt of `ids` the scores of its responses by `scorer`."""
        return [[c.score(scorer) for c in self.responses[i]] for i in ids]

    def summary(self, scorers: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
        """Length, share cut off at the token limit, distinct responses, and the mean of each metric, with intervals."""
        rows = list(self.responses.values())
        out: dict[str, Any] = {
            "temperature": self.temperature,
            "tokens": _mean(rows, lambda c: c.n_tokens, seed),
            "words": _mean(rows, lambda c: words(c.text), seed),
            "truncated": _mean(rows, lambda c: float(c.finish_reason == "length"), seed)["value"],
            "distinct": distinct(self),
            "metrics": {s: _mean(rows, lambda c, s=s: c.score(s), seed) for s in scorers},
        }
        return out


def distinct(answers: Answers) -> float | None:
    """How many different texts a prompt's n responses have, on average: 1 to n."""
    counts = [len({c.text for c in row}) for row in answers.responses.values() if row]
    return sum(counts) / len(counts) if counts else None


def _mean(rows: list[list[Candidate]], measure: Any, seed: int) -> dict[str, Any]:
    """The mean over prompts of the mean over a prompt's responses; responses without a value are left out."""
    values = [[x for c in row if (x := measure(c)) is not None] for row in rows]
    return mean([sum(v) / len(v) for v in values if v], seed=seed).as_dict()


class Models:
    """Loads models on demand. Small ones stay loaded; of large ones only the one used last, since two may not fit."""

    def __init__(self, start: Model) -> None:
        self._tokenizer_spec = start
        self._tokenizer: Any = None
        self._held: dict[str, Any] = {}

    def tokenizer(self) -> Any:
        """The start model's tokenizer, used for all: prompts must be the same tokens for all that are compared."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._tokenizer_spec)
        return self._tokenizer

    def get(self, spec: Model) -> Any:
        """The model of `spec`, in evaluation mode."""
        key = spec.model_dump_json()
        if key not in self._held:
            if sum(m.get_memory_footprint() for m in self._held.values()) > SMALL:
                self._held.clear()
                gc.collect()
            self._held[key] = load_model(spec)
        return self._held[key]


@dataclass
class Sampling:
    """How answers are drawn and where they are kept. `plain_text` prompts get no chat template."""

    run: RunDir
    models: Models
    max_new_tokens: int
    seed: int
    plain_text: bool
    progress: Progress

    def answers(self, name: str, spec: Model, groups: list[Group], n: int, temperature: float) -> Answers:
        """`n` responses of a model to each prompt; read from the run directory where they were drawn before.

        A model's seed depends on its weights: equal seeds would couple the noise of the two models of a comparison.
        """
        weights = model_digest(spec)
        settings = {
            "model": weights,
            "template": "none" if self.plain_text else spec.chat_template or "",
            "n": n,
            "temperature": temperature,
            "max_new_tokens": self.max_new_tokens,
            "seed": int(digest([self.seed, weights])[:8], 16),
        }
        inputs = {"prompts": digest(sorted(asked_ids(groups)))}
        folder = self.run.stage("evaluate", "samples", stage_key("samples", settings, inputs))
        run_stage(
            folder,
            settings,
            inputs,
            lambda f: self._draw(f, name, spec, groups, settings),
        )
        wanted = {g.id for g in groups}
        found = {g.id: g.candidates for g in folder.groups() if g.id in wanted}
        return Answers(name, temperature, {g.id: found[g.id] for g in groups})

    def _draw(
        self,
        folder: StageDir,
        name: str,
        spec: Model,
        groups: list[Group],
        settings: dict[str, Any],
    ) -> tuple[Counts, dict[str, Any]]:
        have = {g.id for g in folder.groups()}
        todo = [g for g in groups if g.id not in have]
        decoding = Decoding(settings["temperature"], max_new_tokens=settings["max_new_tokens"], seed=settings["seed"])
        tokenizer, n = self.models.tokenizer(), settings["n"]
        task = f"{name}, {'greedy' if decoding.temperature == 0 else f'T = {decoding.temperature:g}'}"
        with self.progress.task(task, total=n * len(groups), unit="responses", done=n * len(have)) as step:
            for start in range(0, len(todo), PART):
                part = todo[start : start + PART]
                rows = [prompt_ids(tokenizer, g.messages, plain_text=self.plain_text) for g in part]
                keys = [g.id for g in part]
                drawn = sample_ids(self.models.get(spec), tokenizer, rows, keys, decoding, n=n, step=step)
                folder.write_part([_with_responses(g, row, name) for g, row in zip(part, drawn, strict=True)])
        counts = Counts(len(groups))
        counts.rows_out = len(groups)
        return counts, {"content": "samples"}


def _with_responses(group: Group, drawn: Sequence[Sampled], name: str) -> Group:
    """A copy of the group with the drawn responses as its only candidates."""
    candidates = [
        Candidate(
            candidate_id(
                group.id,
                completion := [{"role": "assistant", "content": s.text}],
                f"{name}/{i}",
            ),
            completion,
            {"run": name, TOKEN_IDS: " ".join(map(str, s.token_ids))},
            finish_reason=s.finish_reason,
            n_tokens=s.n_tokens,
            avg_logprob=s.avg_logprob,
        )
        for i, s in enumerate(drawn)
    ]
    return Group(
        group.id,
        group.messages,
        candidates,
        task=group.task,
        task_meta=group.task_meta,
        split=group.split,
    )


def token_ids(candidate: Candidate) -> list[int]:
    """The ids that were sampled, which encoding the text again need not give back."""
    return [int(x) for x in candidate.generator.get(TOKEN_IDS, "").split()]


def unused_name(path: str, taken: set[str]) -> str:
    """The last parts of a run's path, as many as it takes to tell it from the others."""
    parts = Path(path).parts
    names = ["/".join(parts[-k:]) for k in range(1, len(parts) + 1)]
    return next((n for n in names if n not in taken), f"{path}, again")
