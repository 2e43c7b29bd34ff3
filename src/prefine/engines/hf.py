"""A model in this process, by transformers."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from prefine.engines.base import Deliver, Engine, Outcome, Reply, Request
from prefine.models.decoding import Decoding
from prefine.models.load import model_digest, model_spec
from prefine.recipe import Recipe
from prefine.registry import engines
from prefine.schema import Message

WHOLE = 1 << 40
"""Tokens: requests that come together are computed together."""

Asked = dict[int, tuple[Request, list[int]]]
"""Place of a request to the request and the token ids before its reply."""


@engines.register("hf")
class HFEngine(Engine):
    """A model in this process, by transformers: text, the first token's alternatives, log-probs of given responses.

    Formula: inverse of the cumulative softmax(logits / temperature) at u(key of the request, position)
    Defaults: model: a path or a block like the recipe's `model`; batch_tokens: null is what fits the memory;
    plain_text: true applies no chat template
    """

    features = frozenset({"first_token", "score", "seed", "user_turn"})
    counts: ClassVar[tuple[str, ...]] = ("plain_text",)
    local_model: ClassVar[bool] = True

    def __init__(self, model: str | dict, batch_tokens: int | None = None, plain_text: bool = False) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise ValueError(f"batch_tokens must be 1 or more, not {batch_tokens}")
        self.spec, self.batch_tokens, self.plain_text = model_spec(model), batch_tokens, plain_text
        self.threads: int | None = None
        self._digest = ""

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Only the weights' digest is worked out: the model is loaded when the first request has no stored answer."""
        self.threads, self._digest = recipe.threads, model_digest(self.spec)
        return {"model": self.spec.path, "digest": self._digest}

    def identity(self) -> dict[str, str]:
        return {"model": self._digest or model_digest(self.spec), "plain_text": str(self.plain_text)}

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """By kind and sampling, then by length: what an interrupted run has left falls into the same batches."""
        from prefine.models.forward import cut, tokens_that_fit
        from prefine.models.held import hold

        model, tokenizer = hold(self.spec, self.threads)
        budget = self.batch_tokens or tokens_that_fit(model)
        kinds: dict[tuple, list[int]] = defaultdict(list)
        sizes, keys = [0] * len(requests), [r.key(self.identity()) for r in requests]
        for i, request in enumerate(requests):
            ids = self._prompt(request, model, tokenizer)
            kinds[_kind(request)].append(i)
            sizes[i] = 0 if isinstance(ids, Outcome) else len(ids) + request.sampling.max_tokens
        return [batch for kind in sorted(kinds) for batch in cut(kinds[kind], sizes, keys, budget)]

    def send(self, requests: Sequence[Request], deliver: Deliver) -> None:
        from prefine.models.held import hold

        model, tokenizer = hold(self.spec, self.threads)
        for batch in self.batches(requests):
            asked = {}
            for i in batch:
                found = self._prompt(requests[i], model, tokenizer)
                if isinstance(found, Outcome):
                    deliver(i, found)
                else:
                    asked[i] = (requests[i], found)
            if asked:
                kind, *drawn = _kind(requests[batch[0]])
                ask = {"score": self._score, "first": self._first, "text": self._text}[kind]
                ask(model, tokenizer, asked, deliver, drawn)

    def _prompt(self, request: Request, model: Any, tokenizer: Any) -> list[int] | Outcome:
        """Token ids before the reply. A conversation that ends with the assistant asks for the user's next turn."""
        from prefine.data.chat import Dropped, prompt_ids, user_turn_ids
        from prefine.models.forward import context_length

        messages = list(request.messages)
        try:
            if request.response is not None or (messages and messages[-1]["role"] in ("user", "tool")):
                ids = prompt_ids(tokenizer, messages, plain_text=self.plain_text)
            else:
                ids = user_turn_ids(tokenizer, messages)
        except Dropped as dropped:
            return Outcome("failed_permanent", error=f"{dropped.reason}: {dropped.detail}")
        longest = context_length(model)
        if len(ids) >= longest:
            text = f"context_length: the prompt has {len(ids)} tokens, the model's context {longest}"
            return Outcome("failed_permanent", error=text)
        return ids

    def _text(self, model: Any, tokenizer: Any, asked: Asked, deliver: Deliver, drawn: list) -> None:
        from prefine.models.forward import last_logits
        from prefine.models.sampling import sample_ids

        rows, keys = [ids for _, ids in asked.values()], [r.key(self.identity()) for r, _ in asked.values()]
        found = sample_ids(model, tokenizer, rows, keys, Decoding(*drawn), batch_tokens=WHOLE)
        with_first = [i for i in asked if asked[i][0].sampling.top_logprobs]
        logits = last_logits(model, [[asked[i][1]] for i in with_first]) if with_first else []
        first = dict(zip(with_first, logits, strict=True))
        for (i, (request, ids)), (sampled,) in zip(asked.items(), found, strict=True):
            text, stopped = _until(sampled.text, request.sampling.stop)
            reply = Reply(
                text.strip(),
                "stop" if stopped else sampled.finish_reason,
                logps=sampled.logps,
                prompt_tokens=len(ids),
                completion_tokens=sampled.n_tokens,
                model=self.spec.path,
            )
            if i in first:
                reply.first_token = _alternatives(tokenizer, first[i], request.sampling.top_logprobs)
            deliver(i, _outcome(reply))

    def _first(self, model: Any, tokenizer: Any, asked: Asked, deliver: Deliver, drawn: list) -> None:
        """Questions whose answer is one token."""
        from prefine.models.forward import last_logits

        for (i, (request, ids)), logits in zip(
            asked.items(), last_logits(model, [[ids] for _, ids in asked.values()]), strict=True
        ):
            token = int(logits.argmax())
            reply = Reply(
                tokenizer.decode([token], skip_special_tokens=True).strip(),
                "length",
                first_token=_alternatives(tokenizer, logits, request.sampling.top_logprobs),
                logps=[float(logits.log_softmax(-1)[token])],
                prompt_tokens=len(ids),
                completion_tokens=1,
                model=self.spec.path,
            )
            deliver(i, _outcome(reply))

    def _score(self, model: Any, tokenizer: Any, asked: Asked, deliver: Deliver, drawn: list) -> None:
        """Log-probs of given responses."""
        from prefine.data.chat import Dropped, encode
        from prefine.models.forward import context_length
        from prefine.models.logps import response_token_logps

        encoded = {}
        for i, (request, _) in asked.items():
            response: list[Message] = [{"role": "assistant", "content": request.response or ""}]
            try:
                encoded[i] = encode(
                    tokenizer,
                    list(request.messages),
                    [response],
                    max_length=context_length(model),
                    plain_text=self.plain_text,
                )
            except Dropped as dropped:
                deliver(i, Outcome("failed_permanent", error=f"{dropped.reason}: {dropped.detail}"))
        found = response_token_logps(model, list(encoded.values()))
        for (i, item), (logps,) in zip(encoded.items(), found, strict=True):
            text, prompt = asked[i][0].response or "", len(item.prompt_ids)
            deliver(i, _outcome(Reply(text, "stop", logps=logps, prompt_tokens=prompt, model=self.spec.path)))

    def read(self, request: Request, raw: str) -> Reply:
        return Reply(**json.loads(raw))

    def close(self) -> None:
        from prefine.models.held import release

        release(self.spec)


def _kind(request: Request) -> tuple:
    """What can be computed together: the kind of work, and how tokens are drawn."""
    s = request.sampling
    if request.response is not None:
        return ("score", 0.0, 1.0, 0, 1)
    if s.top_logprobs and s.max_tokens == 1 and s.temperature == 0:
        return ("first", 0.0, 1.0, 0, 1)
    return ("text", s.temperature, s.top_p, s.top_k, s.max_tokens)


def _outcome(reply: Reply) -> Outcome:
    return Outcome(
        raw=json.dumps(asdict(reply), ensure_ascii=False),
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
    )


def _until(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of the stops, and whether there is one."""
    places = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _alternatives(tokenizer: Any, logits: Any, n: int) -> dict[str, float]:
    """Text to log-prob of the `n` likeliest tokens; several tokens with one text are added up."""
    found: dict[str, float] = {}
    logps, tokens = logits.log_softmax(-1).topk(min(n, logits.shape[-1]))
    for logp, token in zip(logps.tolist(), tokens.tolist(), strict=True):
        text = tokenizer.decode([token])
        found[text] = logp if text not in found else math.log(math.exp(found[text]) + math.exp(logp))
    return found
