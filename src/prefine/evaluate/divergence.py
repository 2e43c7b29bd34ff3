"""How far a trained model moved from its start, and how often it ranks held-out pairs as their labels do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from prefine.data.chat import Dropped, Encoded, encode, prompt_ids
from prefine.evaluate.calibration import calibration
from prefine.evaluate.samples import Answers, Models, token_ids
from prefine.evaluate.statistics import mean, share
from prefine.models.logps import response_logps
from prefine.progress import Progress
from prefine.recipe import Model
from prefine.schema import Example, Group

TIE = 1e-6
"""Rewards this close (nats) count as equal: float32 sums of one text in two batches differ by about as much."""


def kl(
    models: Models,
    trained: Model,
    start: Model,
    groups: list[Group],
    answers: Answers,
    plain_text: bool,
    progress: Progress,
) -> dict[str, Any]:
    """KL(trained || start) per response in nats: the mean over samples of log p_trained - log p_start.

    Unbiased when the samples were drawn at temperature 1. Single terms may be negative, the expectation is not.
    """
    encoded = []
    for group in groups:
        responses = [ids for c in answers.responses[group.id] if (ids := token_ids(c))]
        masks = [[True] * len(ids) for ids in responses]
        if responses:
            ids = prompt_ids(models.tokenizer(), group.messages, plain_text=plain_text)
            encoded.append(Encoded(ids, responses, masks, {}))
    ours = _sums(models, trained, encoded, progress)
    theirs = _sums(models, start, encoded, progress)
    gaps = [[a[0] - b[0] for a, b in zip(x, y, strict=True)] for x, y in zip(ours, theirs, strict=True)]
    tokens = [sum(b[1] for b in row) / len(row) for row in theirs]
    per_prompt = [sum(g) / len(g) for g in gaps]
    per_token = mean([p / t for p, t in zip(per_prompt, tokens, strict=True)], tokens)
    return {
        **mean(per_prompt).as_dict(),
        "temperature": answers.temperature,
        "per_token": per_token.value,
    }


@dataclass
class PairAccuracy:
    """Counts per prompt, for one way to rank: pairs ranked as labeled, tied pairs (wrong), all pairs."""

    correct: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    ties: int = 0
    margin: float = 0.0

    def add(self, group: str, gap: float) -> None:
        self.pairs[group] = self.pairs.get(group, 0) + 1
        self.correct[group] = self.correct.get(group, 0) + int(gap > TIE)
        self.ties += int(abs(gap) <= TIE)
        self.margin += gap

    def as_dict(self) -> dict[str, Any]:
        ids = list(self.pairs)
        right = share([self.correct[i] / self.pairs[i] for i in ids], [self.pairs[i] for i in ids])
        pairs = sum(self.pairs.values())
        return {**right.as_dict(), "pairs": pairs, "ties": self.ties, "margin": self.margin / pairs if pairs else None}


def reward_accuracy(
    models: Models,
    trained: Model,
    start: Model,
    examples: Sequence[Example],
    *,
    max_length: int | None,
    overlong: str,
    plain_text: bool,
    progress: Progress,
    beta: float | None = None,
) -> dict[str, Any] | None:
    """Share of held-out pairs whose chosen response has the higher reward, with a bootstrap over prompts.

    The headline is the implicit reward log p_trained - log p_start (Rafailov et al. 2023, eq. 5, up to beta and a term
    of the prompt). Beside it, under `by`, the same share by sum and by mean log-probability, for the trained and the
    start model. Ties count as wrong. A ranked list counts each of its pairs. None where there is no pair.
    With `beta`, that of the objective, `calibration` has what the reward says as a probability, against the labels.
    """
    kept, encoded, dropped = _encode(
        models,
        examples,
        max_length=max_length,
        overlong=overlong,
        plain_text=plain_text,
    )
    if not encoded:
        return None
    ours = _sums(models, trained, encoded, progress)
    theirs = _sums(models, start, encoded, progress)
    out = {name: PairAccuracy() for name in ("reward", "logp", "start_logp", "avg_logp", "start_avg_logp")}
    measured: list[tuple[str, float]] = []
    for example, a, b in zip(kept, ours, theirs, strict=True):
        for i, j in _ranked(example):
            gaps = {
                "logp": a[i][0] - a[j][0],
                "start_logp": b[i][0] - b[j][0],
                "avg_logp": _average(a[i]) - _average(a[j]),
                "start_avg_logp": _average(b[i]) - _average(b[j]),
            }
            gaps["reward"] = gaps["logp"] - gaps["start_logp"]
            measured.append((example.group_id, gaps["reward"]))
            for name, gap in gaps.items():
                out[name].add(example.group_id, gap)
    result = {name: counts.as_dict() for name, counts in out.items()}
    return {
        **result.pop("reward"),
        "examples": len(kept),
        "dropped": dropped,
        "by": result,
        "calibration": calibration([g for g, _ in measured], [gap for _, gap in measured], beta) if beta else None,
    }


def _ranked(example: Example) -> list[tuple[int, int]]:
    """The pairs (better, worse) of an example, whose responses are best first; equal scores are no pair."""
    pairs = combinations(range(len(example.responses)), 2)
    s = example.scores
    return [(i, j) for i, j in pairs if not s or s[i] > s[j]]


def _average(sum_and_count: tuple[float, int]) -> float:
    return sum_and_count[0] / max(sum_and_count[1], 1)


def _encode(
    models: Models, examples: Sequence[Example], **options: Any
) -> tuple[list[Example], list[Encoded], dict[str, int]]:
    """The examples with a pair in them, encoded as in training, and the counts of those dropped by reason."""
    kept: list[Example] = []
    encoded: list[Encoded] = []
    dropped: dict[str, int] = {}
    for example in examples:
        if not _ranked(example):
            continue
        try:
            encoded.append(
                encode(
                    models.tokenizer(), example.prompt, example.responses, finished=example.finished or None, **options
                )
            )
            kept.append(example)
        except Dropped as error:
            dropped[error.reason] = dropped.get(error.reason, 0) + 1
    return kept, encoded, dropped


def _sums(models: Models, spec: Model, encoded: list[Encoded], progress: Progress) -> list[list[tuple[float, int]]]:
    return response_logps(models.get(spec), encoded, progress=progress) if encoded else []
