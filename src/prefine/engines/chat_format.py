"""The bodies that OpenAI-compatible servers take and give: made and read here, without a network."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from prefine.engines.base import Reply, Request


def chat_body(request: Request, model: str, limit_field: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The body for /chat/completions. What has its neutral value is left out, since not every server knows it."""
    s = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m["role"], "content": m["content"]} for m in request.messages],
        limit_field: s.max_tokens,
        "temperature": s.temperature,
        "seed": sent_seed(request),
    }
    if s.top_p < 1:
        body["top_p"] = s.top_p
    if s.top_k > 0:
        body["top_k"] = s.top_k
    if s.stop:
        body["stop"] = list(s.stop)
    if s.top_logprobs:
        body.update(logprobs=True, top_logprobs=s.top_logprobs)
    return merged(body, extra)


def score_body(ids: list[int], model: str, mode: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The body for /completions that asks for the log-probs of the prompt `ids`, in one of two ways servers have."""
    how = {"echo": True, "logprobs": 1} if mode == "echo" else {"prompt_logprobs": 0}
    return merged({"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, **how}, extra)


def merged(body: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The body with the user's fields; one that is null is left out."""
    return {k: v for k, v in {**body, **extra}.items() if v is not None}


def sent_seed(request: Request) -> int:
    """The seed that a server gets: its own for each sample, since servers draw equal texts from equal seeds."""
    if not request.tag:
        return request.sampling.seed
    text = f"{request.sampling.seed}:{request.tag}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1


def usage(body: Any) -> tuple[int, int, int] | None:
    """Tokens of the prompt, those of them that came from the server's cache, and of the reply; None where unsaid."""
    found = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("prompt_tokens"), int):
        return None
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return found["prompt_tokens"], cached or 0, found.get("completion_tokens") or 0


def read_chat(raw: str, accept_refusals: bool) -> Reply:
    """The reply in the body of /chat/completions."""
    body = json.loads(raw)
    choice = body["choices"][0]
    message = choice.get("message") or {}
    prompt, cached, completion = usage(body) or (0, 0, 0)
    reply = Reply(
        message.get("content") or "",
        choice.get("finish_reason"),
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        model=str(body.get("model") or ""),
    )
    refusal = message.get("refusal")
    if choice.get("finish_reason") == "content_filter":
        reply.status, reply.error = "failed_permanent", "content_filter: the server held the reply back"
    elif refusal and not reply.text and accept_refusals:
        reply.text = str(refusal)
    elif refusal and not reply.text:
        reply.status, reply.error = "failed_permanent", f"content_filter: refused: {str(refusal)[:200]}"
    tokens = (choice.get("logprobs") or {}).get("content") or []
    if tokens:
        reply.first_token = _alternatives(tokens[0])
        reply.logps = [float(t["logprob"]) for t in tokens]
    return reply


def split_choices(raw: str) -> list[str]:
    """A body for each choice of a body, in their order.

    The prompt's tokens are told by the first alone. How long each choice is, such a body does not say.
    """
    body = json.loads(raw)
    prompt, cached, _ = usage(body) or (0, 0, 0)
    used = {"prompt_tokens": prompt, "prompt_tokens_details": {"cached_tokens": cached}}
    choices = sorted(body["choices"], key=lambda c: c.get("index") or 0)
    return [
        json.dumps({**body, "choices": [choice], "usage": used if k == 0 else {"prompt_tokens": 0}})
        for k, choice in enumerate(choices)
    ]


def read_score(raw: str, response: str) -> Reply:
    """The reply in what `envelope` made: log-probs of the tokens of the response."""
    sent = json.loads(raw)
    body, places, ids = json.loads(sent["reply"]), sent["places"], sent["ids"]
    choice = body["choices"][0]
    prompt, cached, completion = usage(body) or (0, 0, 0)
    if choice.get("prompt_logprobs"):
        logps = [choice["prompt_logprobs"][p][str(token)]["logprob"] for p, token in zip(places, ids, strict=True)]
    else:
        logps = [choice["logprobs"]["token_logprobs"][p] for p in places]
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in logps):
        raise ValueError("a log-prob is missing or not finite")
    return Reply(
        response,
        "stop",
        logps=[float(value) for value in logps],
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        model=str(body.get("model") or ""),
    )


def envelope(reply: str, places: list[int], ids: list[int]) -> str:
    """A body with log-probs, together with the places and ids of the response's tokens, which the body does not say."""
    return json.dumps({"places": places, "ids": ids, "reply": reply})


def _alternatives(token: dict[str, Any]) -> dict[str, float]:
    """Text to log-prob; texts that several tokens share are added up."""
    found: dict[str, float] = {}
    for one in token.get("top_logprobs") or []:
        text, logp = one["token"], float(one["logprob"])
        if text in found:
            high, low = max(found[text], logp), min(found[text], logp)
            logp = high + math.log1p(math.exp(low - high)) if high > float("-inf") else high
        found[text] = logp
    return found
