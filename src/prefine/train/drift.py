"""How far the policy is from its start while it is trained: it answers a few held-out prompts at every evaluation, and
when training has ended, the start says how likely it would have given those answers."""

from __future__ import annotations

import gc
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from prefine.data.chat import Encoded
from prefine.durable import sync, write_bytes
from prefine.errors import PrefineError
from prefine.models.decoding import Decoding
from prefine.models.load import load_model
from prefine.models.logps import policy_logps
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.sampling import sample_ids
from prefine.recipe import Recipe
from prefine.schema import digest
from prefine.student_t import t_interval
from prefine.train.batches import Item
from prefine.train.log import MetricsLog
from prefine.train.memory import out_of_memory

SAMPLES = "samples.jsonl"
CURVE = "kl.jsonl"
MOST_NEW = 256
"""Tokens of a sample where the recipe's evaluation does not say, at most; else twice the longest held-out response."""
TOKENS_AT_ONCE = 4096
"""Of samples that are scored together. It never changes: the policy's numbers and the start's are rounded alike."""
ALIKE = ("bf16", "fused", "prunes", "alone", "tiles")
"""What the start computes with as the policy did."""

Row = dict[str, Any]


class Samples:
    """One response of the policy at temperature 1 to each of a few held-out prompts, at every evaluation.

    The prompts are the first `count` by a digest of their tokens: different trainings on the same data have the same,
    whatever their examples look like. What is sampled depends on the weights, the seed, the step and the prompt, and
    uses none of torch's random numbers, so that the training does not notice.

    A row of `path`: step, id (of the example whose prompt it is), prompt and response as text, token_ids with the stop
    token, logp (summed, of the policy at that step, in nats), and whether it finished.
    """

    def __init__(
        self,
        path: Path,
        items: Iterable[Item],
        tokenizer: Any,
        *,
        count: int,
        max_new_tokens: int,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.path, self.tokenizer, self.say = path, tokenizer, say
        by_prompt: dict[str, Item] = {}
        for item in items:
            if item.encoded.prompt_ids:
                by_prompt.setdefault(digest(item.encoded.prompt_ids), item)
        self.chosen = dict(sorted(by_prompt.items())[:count])
        self.decoding = Decoding(1.0, max_new_tokens=max_new_tokens, seed=seed)
        self.log = MetricsLog(path)

    def rewind(self, step: int) -> None:
        """Forget what was sampled after a checkpoint; of step 0 there is none, and its samples are drawn again."""
        self.log.rewind(step or -1)

    def take(self, policy: Policy, step: int) -> None:
        """Sample, and write down what was sampled before anything goes on. Leaves the policy in evaluation mode.

        Where the model cannot be sampled from, or memory is not enough, this step goes without, and says so.
        """
        if not self.chosen:
            return
        policy.eval()
        policy.forget_rows()
        rows, hindrance = [], "no prompt leaves room for a response"
        try:
            rows = self._rows(policy, step)
        except (PrefineError, torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            hindrance = _hindrance(error)
        if rows:
            for row in rows:
                self.log.write(row)
            sync(self.path)
        else:
            free()
            self.say(f"step {step}: nothing was sampled for the curve of KL: {hindrance}")

    def _rows(self, policy: Policy, step: int) -> list[Row]:
        items = list(self.chosen.values())
        keys = [f"drift/{step}/{key}" for key in self.chosen]
        found = sample_ids(policy.model, self.tokenizer, [i.encoded.prompt_ids for i in items], keys, self.decoding)
        drawn = [(item, responses[0]) for item, responses in zip(items, found, strict=True) if responses]
        logps = score(policy, [(item.encoded.prompt_ids, sampled.token_ids) for item, sampled in drawn])
        return [
            {
                "step": step,
                "id": item.id,
                "prompt": self._text(item.encoded.prompt_ids),
                "response": sampled.text,
                "token_ids": sampled.token_ids,
                "logp": logp,
                "finished": sampled.finish_reason == "stop",
            }
            for (item, sampled), logp in zip(drawn, logps, strict=True)
        ]

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def max_new_tokens(recipe: Recipe, held_out: Sequence[Item]) -> int:
    """The longest sample: as long as a response in the recipe's evaluation, else as the held-out responses suggest."""
    if recipe.evaluate is not None:
        return recipe.evaluate.max_new_tokens
    longest = max((len(r) for item in held_out for r in item.encoded.responses), default=1)
    return min(MOST_NEW, 2 * longest)


def score(policy: Policy, texts: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """The summed log-prob (nats) of each (prompt, response), a row of its own each: right for every model."""
    encoded = [Encoded(prompt, [ids], [[True] * len(ids)]) for prompt, ids in texts]
    found = policy_logps(policy, encoded, max_tokens=TOKENS_AT_ONCE, mode="separate") if encoded else []
    return [logp for ((logp, _),) in found]


def start_of(policy: Policy, recipe: Recipe) -> Callable[[], Policy]:
    """What gives the model that training began from: the policy, to be used without its adapter, or the start loaded
    anew. In the second case the policy itself is not kept alive."""
    if hasattr(policy.model, "disable_adapter"):
        return lambda: policy
    alike = {name: getattr(policy, name) for name in ALIKE}

    def load() -> Policy:
        assert recipe.train is not None
        model = load_model(recipe.model).requires_grad_(False)
        Masters(model, bf16=recipe.train.bf16)
        start = Policy(model)
        for name, value in alike.items():
            setattr(start, name, value)
        return start.eval()

    return load


def measure(folder: Path, start: Callable[[], Policy], items: Iterable[Item], say: Callable[[str], None]) -> None:
    """Score the samples of a training in `folder` by its start, write the curve beside them, and say how it ends.

    `items` have the prompts. Where the start cannot be had there is no curve, and the training is good nevertheless.
    """
    (folder / CURVE).unlink(missing_ok=True)
    rows = read(folder / SAMPLES)
    if not rows:
        return
    prompts = {item.id: item.encoded.prompt_ids for item in items}
    free()
    try:
        policy = start()
        with policy.as_reference():
            points = curve(rows, policy, prompts)
    except (PrefineError, torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        say(f"KL from the start is not known: {_hindrance(error)}")
        return
    write_bytes(folder / CURVE, "".join(json.dumps(point) + "\n" for point in points).encode())
    say(_line(points[-1]))


def _line(last: Row) -> str:
    if last["value"] is None:
        return "KL from the start: not a finite number"
    ends = "" if last["low"] is None else f" [{last['low']:.3g}, {last['high']:.3g}]"
    return f"KL from the start: {last['value']:.3g} nats a response{ends}"


def read(path: Path) -> list[Row]:
    """The rows of a file with one JSON object a line; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def curve(rows: Sequence[Row], start: Policy, prompts: dict[str, list[int]]) -> list[Row]:
    """KL(policy || start) at every evaluated step, estimated on what the policy sampled at that step."""
    by_step: dict[int, list[Row]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row)
    return [
        point(step, some, score(start, [(prompts[row["id"]], row["token_ids"]) for row in some]))
        for step, some in sorted(by_step.items())
    ]


def point(step: int, rows: Sequence[Row], start_logps: Sequence[float]) -> Row:
    """One step: the mean of log p_policy - log p_start over the samples, in nats a response.

    It is an unbiased estimate of KL(policy || start), since the samples are the policy's own at temperature 1; of
    texts that may be cut off, it is the KL of what was written. `low` and `high` are the ends of the 95 % interval by
    Student's t over prompts (null for one sample). `per_token` is the sum of the differences over all sampled tokens,
    `tokens` the mean length, `finished` the share that was not cut off. What is not finite is null.
    """
    gaps = [row["logp"] - theirs for row, theirs in zip(rows, start_logps, strict=True)]
    lengths = [len(row["token_ids"]) for row in rows]
    finite = all(map(math.isfinite, gaps))
    low, high = (t_interval(gaps) if finite else None) or (None, None)
    return {
        "step": step,
        "value": statistics.fmean(gaps) if finite else None,
        "low": low,
        "high": high,
        "n": len(gaps),
        "per_token": sum(gaps) / sum(lengths) if finite else None,
        "tokens": statistics.fmean(lengths),
        "finished": statistics.fmean(row["finished"] for row in rows),
    }


def _hindrance(error: Exception) -> str:
    """Why there are no samples, or no scores of them, which stops no training. Any other error is raised again."""
    if isinstance(error, PrefineError):
        return str(error)
    if out_of_memory(error):
        return "the memory is not enough"
    raise error


def free() -> None:
    """Give back the memory of what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
