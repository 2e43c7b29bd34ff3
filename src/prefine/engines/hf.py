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

    def send(self, requests: Sequence[Request], deliver: Deliver) -> None:
        from prefine.models.held import hold

        model, tokenizer = hold(self.spec, self.threads)
        kinds: dict[tuple, list[int]] = defaultdict(list)
        prompts: dict[int, list[int]] = {}
        for i, request in enumerate(requests):
            found = self._prompt(request, model, tokenizer)
            if isinstance(found, Outcome):
                deliver(i, found)
                continue
            prompts[i], s = found, request.sampling
            if request.response is not None:
                kinds["score", 0.0, 1.0, 0, 0].append(i)
            elif s.top_logprobs and s.max_tokens == 1 and s.temperature == 0:
                kinds["first", 0.0, 1.0, 0, 1].append(i)
            else:
                kinds["text", s.temperature, s.top_p, s.top_k, s.max_tokens].append(i)
        for (kind, *drawn), members in sorted(kinds.items()):
            ask = {"score": self._score, "first": self._first, "text": self._text}[kind]
            ask(model, tokenizer, {i: (requests[i], prompts[i]) for i in members}, deliver, drawn)

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

    def _text(self, model: Any, tokenizer: Any, asked: dict, deliver: Deliver, drawn: list) -> None:
        from prefine.models.forward import cut, last_logits, tokens_that_fit
        from prefine.models.sampling import sample_ids

        decoding = Decoding(*drawn)
        keys = {i: request.key(self.identity()) for i, (request, _) in asked.items()}
        order = list(asked)
        budget = self.batch_tokens or tokens_that_fit(model)
        sizes = [len(asked[i][1]) + decoding.max_new_tokens for i in order]
        for batch in cut(list(range(len(order))), sizes, [keys[i] for i in order], budget):
            members = [order[b] for b in batch]
            rows = [asked[i][1] for i in members]
            found = sample_ids(model, tokenizer, rows, [keys[i] for i in members], decoding, batch_tokens=budget)
            with_first = [i for i in members if asked[i][0].sampling.top_logprobs]
            first = {}
            if with_first:
                logits = last_logits(model, [[asked[i][1]] for i in with_first])
                first = dict(zip(with_first, logits, strict=True))
            for i, (sampled,) in zip(members, found, strict=True):
                request, ids = asked[i]
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

    def _first(self, model: Any, tokenizer: Any, asked: dict, deliver: Deliver, drawn: list) -> None:
        """Questions whose answer is one token: what requests with one beginning share is computed once."""
        from prefine.models.forward import cut, last_logits, tokens_that_fit

        order = sorted(asked, key=lambda i: asked[i][1])
        sizes = [len(asked[i][1]) for i in order]
        keys = [f"{place:09d}" for place in range(len(order))]
        for batch in cut(list(range(len(order))), sizes, keys, self.batch_tokens or tokens_that_fit(model)):
            members = [order[b] for b in batch]
            for i, logits in zip(members, last_logits(model, [[asked[i][1]] for i in members]), strict=True):
                request, ids = asked[i]
                token = int(logits.argmax())
                text = tokenizer.decode([token], skip_special_tokens=True)
                found = _alternatives(tokenizer, logits, request.sampling.top_logprobs)
                logp = float(logits.log_softmax(-1)[token])
                counts = {"prompt_tokens": len(ids), "completion_tokens": 1, "model": self.spec.path}
                deliver(i, _outcome(Reply(text.strip(), "length", first_token=found, logps=[logp], **counts)))

    def _score(self, model: Any, tokenizer: Any, asked: dict, deliver: Deliver, drawn: list) -> None:
        """Log-probs of given responses, those to one prompt together."""
        from prefine.data.chat import Dropped, encode
        from prefine.models.forward import context_length
        from prefine.models.logps import response_token_logps

        families: dict[tuple, list[int]] = defaultdict(list)
        for i, (request, ids) in asked.items():
            families[tuple(ids), json.dumps(request.messages)].append(i)
        encoded, members = [], []
        for family in families.values():
            for i in family:
                request = asked[i][0]
                response: list[Message] = [{"role": "assistant", "content": request.response}]
                try:
                    item = encode(
                        tokenizer,
                        list(request.messages),
                        [response],
                        max_length=context_length(model),
                        plain_text=self.plain_text,
                    )
                except Dropped as dropped:
                    deliver(i, Outcome("failed_permanent", error=f"{dropped.reason}: {dropped.detail}"))
                    continue
                encoded.append(item)
                members.append(i)
        if not encoded:
            return
        for i, item, (logps,) in zip(members, encoded, response_token_logps(model, encoded), strict=True):
            text = asked[i][0].response
            reply = Reply(text, "stop", logps=logps, prompt_tokens=len(item.prompt_ids), model=self.spec.path)
            deliver(i, _outcome(reply))

    def read(self, request: Request, raw: str) -> Reply:
        return Reply(**json.loads(raw))

    def close(self) -> None:
        from prefine.models.held import release

        release(self.spec)


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
