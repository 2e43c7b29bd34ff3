"""Sampling from a causal language model: each response has random numbers of its own.

The random number of a token depends on (seed, key of the prompt, index of the sample, position) and on nothing else,
and a token is chosen by inverting the cumulative distribution in the order of the vocabulary. So neither the order of
the prompts nor the size of a batch changes what is sampled, up to draws within rounding error of a boundary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prefine.data.chat import prompt_ids, stop_ids
from prefine.errors import PrefineError
from prefine.models.decoding import Decoding, choose, uniforms
from prefine.models.forward import context_length, cut, forward, left_pad, tokens_that_fit
from prefine.progress import Progress, Step
from prefine.schema import Message

COMPACT = 0.75
"""Finished rows leave the batch when no more than this share of its rows is unfinished."""

Drawn = tuple[list[int], list[float]]
"""Token ids of a response and their log-probs."""


@dataclass(frozen=True)
class Sampled:
    """One response. `token_ids` and `n_tokens` include the stop token of a finished one.

    `avg_logprob` is the mean over these tokens of log p(token) under the model at temperature 1 with its whole
    vocabulary, however the token was drawn. `finish_reason` is `stop` or `length`.
    """

    text: str
    token_ids: list[int]
    n_tokens: int
    avg_logprob: float
    finish_reason: str
    logps: list[float]
    """Of each token, at temperature 1."""


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[Message]],
    keys: Sequence[str],
    *,
    n: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_new_tokens: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
    batch_tokens: int | None = None,
) -> list[list[Sampled]]:
    """`n` responses to each prompt, in the order of the prompts.

    `keys` name the prompts for the random numbers (a group's id). A prompt that fills the model's whole context has no
    responses: its list is empty. `batch_tokens` bounds rows * (prompt + new tokens) of a batch; None fits the memory.
    """
    decoding = Decoding(temperature, top_p, top_k, max_new_tokens, seed)
    rows = [prompt_ids(tokenizer, p) for p in prompts]
    if progress is None:
        return sample_ids(model, tokenizer, rows, keys, decoding, n=n, batch_tokens=batch_tokens)
    with progress.task("sampling", total=n * len(rows), unit="responses") as step:
        return sample_ids(model, tokenizer, rows, keys, decoding, n=n, batch_tokens=batch_tokens, step=step)


def sample_ids(
    model: Any,
    tokenizer: Any,
    rows: Sequence[list[int]],
    keys: Sequence[str],
    decoding: Decoding,
    *,
    n: int = 1,
    batch_tokens: int | None = None,
    step: Step | None = None,
) -> list[list[Sampled]]:
    """The same for prompts that are token ids already; `step` hears of responses as they are finished."""
    draws = 1 if decoding.temperature == 0 else n
    room = [min(decoding.max_new_tokens, context_length(model) - len(row)) for row in rows]
    todo = [i for i in range(len(rows)) if room[i] > 0]
    sizes = [draws * (len(row) + decoding.max_new_tokens) for row in rows]
    batches = cut(todo, sizes, keys, batch_tokens or tokens_that_fit(model))
    stops = stop_ids(tokenizer, model)
    meter = _Meter(step, n // draws)
    out: list[list[Sampled]] = [[] for _ in rows]
    while batches:
        batch = batches.pop(0)
        try:
            found = _Batch(model, [rows[i] for i in batch], [room[i] for i in batch], stops, meter).run(
                [keys[i] for i in batch], draws, decoding
            )
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            meter.take_back()
            torch.cuda.empty_cache()
            batches[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
            continue
        meter.keep()
        for i, responses in zip(batch, found, strict=True):
            out[i] = [_finish(tokenizer, ids, logps, stops) for ids, logps in responses] * (n // draws)
    return out


class _Meter:
    """Tells `step` of finished responses, and takes back those of a batch that ran out of memory."""

    def __init__(self, step: Step | None, times: int) -> None:
        self._step, self._times, self._told = step, times, 0

    def add(self, n: int) -> None:
        if self._step is not None and n:
            self._told += n * self._times
            self._step(n * self._times)

    def keep(self) -> None:
        self._told = 0

    def take_back(self) -> None:
        if self._step is not None:
            self._step(-self._told)
        self._told = 0


class _Batch:
    """Prompts that are sampled together, padded on the left. `room`: new tokens that each may have."""

    def __init__(self, model: Any, rows: list[list[int]], room: list[int], stops: list[int], meter: _Meter) -> None:
        self.model, self.rows, self.room, self.meter = model, rows, room, meter
        self.device = next(model.parameters()).device
        self.stops = torch.tensor(stops, device=self.device)

    @torch.no_grad()
    def run(self, keys: list[str], n: int, decoding: Decoding) -> list[list[Drawn]]:
        """n responses to each prompt."""
        longest = max(self.room)
        noise = np.zeros((len(keys) * n, longest))
        if decoding.temperature > 0:
            noise = np.stack([uniforms(decoding.seed, key, i, longest) for key in keys for i in range(n)])
        u = torch.from_numpy(noise).to(self.device)
        room = torch.tensor(self.room, device=self.device).repeat_interleave(n)
        ids, seen, position = left_pad(self.rows, self.device, longest)
        width = ids.shape[1]
        logits, cache = forward(self.model, ids, seen[:, :width], position)
        if n > 1:
            cache.reorder_cache(torch.arange(len(ids), device=self.device).repeat_interleave(n))
            logits, seen = logits.repeat_interleave(n, 0), seen.repeat_interleave(n, 0)
        position = seen[:, :width].sum(1)
        rows = torch.arange(len(room), device=self.device)
        going = torch.ones_like(rows, dtype=torch.bool)
        tokens = torch.zeros((len(room), longest), dtype=torch.long, device=self.device)
        logps = torch.zeros((len(room), longest), device=self.device)
        length = torch.zeros_like(rows)
        left = len(room)
        for t in range(longest):
            token, logp = choose(logits, u[rows, t], decoding)
            tokens[rows, t], logps[rows, t] = token, logp
            length[rows] += going
            going = going & ~torch.isin(token, self.stops) & (room[rows] > t + 1)
            before, left = left, int(going.sum())
            self.meter.add(before - left)
            if left == 0:
                break
            if left <= COMPACT * len(rows):
                stay = going.nonzero().squeeze(1)
                cache.reorder_cache(stay)
                rows, going, token, seen, position = (x[stay] for x in (rows, going, token, seen, position))
            logits, cache = forward(self.model, token[:, None], seen[:, : width + t + 1], position[:, None], cache)
            position = position + 1
        drawn = zip(tokens.tolist(), logps.tolist(), length.tolist(), strict=True)
        flat = [(ids[:k], lps[:k]) for ids, lps, k in drawn]
        return [flat[i : i + n] for i in range(0, len(flat), n)]


def _finish(tokenizer: Any, ids: list[int], logps: list[float], stops: list[int]) -> Sampled:
    mean = math.fsum(logps) / len(logps)
    if not math.isfinite(mean):
        raise PrefineError("the model's outputs are not finite numbers; are its weights damaged, or dtype too narrow?")
    stopped = ids[-1] in stops
    text = tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Sampled(text, ids, len(ids), mean, "stop" if stopped else "length", logps)
