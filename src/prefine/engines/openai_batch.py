"""One batch of requests to OpenAI-compatible servers: what each is sent, and what the servers can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from prefine.data.messages import Dropped
from prefine.engines.base import Deliver, Outcome, Request
from prefine.engines.calls import Answer, Job
from prefine.engines.chat_format import chat_body, envelope, score_body, split_choices, usage
from prefine.engines.cost import approximate_tokens, most_tokens
from prefine.engines.dispatch import Dispatcher
from prefine.engines.limits import Endpoint
from prefine.engines.transport import Http
from prefine.errors import PrefineError
from prefine.recipe import Model
from prefine.schema import canonical_json

if TYPE_CHECKING:
    from prefine.engines.openai import OpenAIEngine

ScoreMode = Literal["echo", "prompt_logprobs"]
_MODES: tuple[ScoreMode, ...] = ("echo", "prompt_logprobs")
MOST_CHOICES = 128
"""Samples in one call, the most that servers take."""
_LATER = ("content_filter", "context_length", "timeout", "broken", "http_", "unreachable")
"""Beginnings of reasons that say nothing about what a server can do."""


class Batch:
    """The requests of one `send`, over an open connection pool."""

    def __init__(self, engine: OpenAIEngine, http: Http, requests: Sequence[Request], deliver: Deliver) -> None:
        self.engine, self.http, self.requests, self.deliver = engine, http, requests, deliver
        self._scored: dict[int, tuple[list[int], list[int], list[int]]] = {}
        """By index: ids of prompt and response, places of the response's tokens that count, those tokens."""
        self._samples: dict[int, list[int]] = {}
        """By the index of the first one: requests that are sent as one call for several samples."""

    async def run(self) -> None:
        """Answer all. What only some servers can do is tried with one request before the others are sent."""
        todo = [i for i, request in enumerate(self.requests) if not self._refused(i, request)]
        if not todo:
            return
        await self.http.greet()
        todo = await self._find_score_mode(todo)
        todo = await self._find_first_token(todo)
        if self.engine.native_n:
            self._samples = together(todo, self.requests)
            todo = list(self._samples)
        await self._send(todo, self._deliver_each)

    async def _send(self, indices: Sequence[int], deliver: Deliver) -> None:
        engine = self.engine
        await Dispatcher(
            engine.endpoints,
            self._post,
            self._finish,
            _used,
            deliver,
            engine.policy,
            budget=engine.budget,
            notice=engine.notice,
            commit=engine.commit,
        ).run([self._job(i) for i in indices])

    async def _find_first_token(self, todo: list[int]) -> list[int]:
        """Send one request for alternatives of the first token, and stop when the server gives none."""
        wanting = [i for i in todo if self.requests[i].sampling.top_logprobs and self.requests[i].response is None]
        if not wanting or self.engine.gives_first_token:
            return todo
        outcome = await self._alone(wanting[0])
        if outcome.status == "ok":
            reply = self.engine.read(self.requests[wanting[0]], outcome.raw)
            if not reply.first_token:
                raise self._cannot("log-probs of the first token (top_logprobs)", "its reply has none")
            self.engine.gives_first_token = True
        elif outcome.status == "failed_permanent" and not outcome.error.startswith(_LATER):
            raise self._cannot("log-probs of the first token (top_logprobs)", outcome.error)
        self.deliver(wanting[0], outcome)
        return [i for i in todo if i != wanting[0]]

    async def _find_score_mode(self, todo: list[int]) -> list[int]:
        """Send scoring requests one by one until it is known in which way the server gives log-probs of a prompt."""
        wanting = [i for i in todo if self.requests[i].response is not None]
        what = "log-probs of a given response (echo or prompt_logprobs of /completions)"
        for i in wanting if self.engine.score_mode is None else ():
            found: list[str] = []
            for mode in _MODES:
                self.engine.score_mode = mode
                outcome = await self._alone(i)
                if outcome.status == "ok" or outcome.error.startswith(_LATER):
                    break
                found.append(f"{mode}: {outcome.error}")
            else:
                self.engine.score_mode = None
                raise self._cannot(what, "; ".join(found))
            self.deliver(i, outcome)
            todo = [k for k in todo if k != i]
            if outcome.status == "ok":
                break
            self.engine.score_mode = None
        return todo

    async def _alone(self, index: int) -> Outcome:
        found: list[Outcome] = []
        await self._send([index], lambda _, outcome: found.append(outcome))
        return found[-1]

    def _cannot(self, what: str, why: str) -> PrefineError:
        return PrefineError(f"the server of {self.engine.model} does not give {what}: {why}")

    def _job(self, index: int) -> Job:
        request = self.requests[index]
        if index in self._scored:
            n = len(self._scored[index][0])
            return Job(index, n + 1, (n, 1))
        n, (prompt, reply) = len(self._samples.get(index, [index])), most_tokens(request)
        return Job(index, approximate_tokens(request.messages) + n * request.sampling.max_tokens, (prompt, n * reply))

    async def _post(self, endpoint: Endpoint, job: Job) -> Answer:
        engine, request = self.engine, self.requests[job.index]
        if job.index in self._scored:
            path, longest = "completions", 1
            body = score_body(self._scored[job.index][0], engine.model, engine.score_mode or "echo", engine.extra)
        else:
            path, longest = "chat/completions", request.sampling.max_tokens
            body = chat_body(request, engine.model, engine.limit_field, engine.extra)
            n = len(self._samples.get(job.index, [job.index]))
            body |= {"n": n} if n > 1 else {}
        seconds = engine.timeout + longest / engine.min_speed
        return await self.http.post(f"{endpoint.url}/{path}", json.dumps(body).encode(), seconds)

    def _finish(self, job: Job, text: str) -> Outcome:
        """How a call with a usable response ended: its status is what reading it says."""
        if len(self._samples.get(job.index, ())) > 1:
            return Outcome(raw=text)
        raw = text
        if job.index in self._scored:
            _, places, ids = self._scored[job.index]
            raw = envelope(text, places, ids)
        return self._read(job.index, raw)

    def _read(self, index: int, raw: str) -> Outcome:
        try:
            reply = self.engine.read(self.requests[index], raw)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return Outcome("failed_permanent", raw=raw, error=f"unreadable_reply: {type(error).__name__} {error}")
        return Outcome(reply.status, raw=raw, error=reply.error)  # type: ignore[arg-type]

    def _deliver_each(self, index: int, outcome: Outcome) -> None:
        """Deliver what a call for several samples came to, for each of them; what it used counts for the first."""
        members = self._samples.get(index, [index])
        if len(members) == 1:
            self.deliver(index, outcome)
            return
        bodies = split_choices(outcome.raw) if outcome.status == "ok" else []
        for k, member in enumerate(members):
            if outcome.status != "ok":
                found = replace(outcome)
            elif k < len(bodies):
                found = self._read(member, bodies[k])
            else:
                found = Outcome("failed_retryable", error=f"missing_choice: {len(bodies)} of {len(members)} came")
            spent = ("tries", "seconds", "prompt_tokens", "cached_tokens", "completion_tokens")
            self.deliver(member, replace(found, **{name: getattr(outcome, name) if k == 0 else 0 for name in spent}))

    def _refused(self, index: int, request: Request) -> bool:
        """Deliver the failure of a request that cannot be sent."""
        try:
            if request.response is not None:
                self._scored[index] = self._encode(request)
                return False
            if request.messages and request.messages[-1]["role"] != "assistant":
                return False
            error = "unsupported: only a conversation that ends with the user can be sent to a server"
        except Dropped as dropped:
            error = f"{dropped.reason}: {dropped.detail}"
        self.deliver(index, Outcome("failed_permanent", error=error))
        return True

    def _encode(self, request: Request) -> tuple[list[int], list[int], list[int]]:
        from prefine.data.chat import encode

        response: Any = [{"role": "assistant", "content": request.response}]
        plain = self.engine.plain_text
        item = encode(self._tokenizer(), list(request.messages), [response], plain_text=plain)
        ids = item.prompt_ids + item.responses[0]
        places = [len(item.prompt_ids) + k for k, counts in enumerate(item.masks[0]) if counts]
        return ids, places, [ids[p] for p in places]

    def _tokenizer(self) -> Any:
        from prefine.models.load import load_tokenizer

        if self.engine.tokenizer is None:
            if self.engine.tokenizer_path is None:
                raise PrefineError(
                    "engine 'openai': log-probs of given responses need the setting 'tokenizer', a folder or hub id "
                    "with the tokenizer and chat template of the server's model"
                )
            self.engine.tokenizer = load_tokenizer(Model(path=self.engine.tokenizer_path))
        return self.engine.tokenizer


def together(indices: Sequence[int], requests: Sequence[Request]) -> dict[int, list[int]]:
    """By the first of them: places of requests that are samples of one prompt, which differ in seed and tag alone."""
    found: dict[Any, list[int]] = {}
    for i in indices:
        request = requests[i]
        drawn = request.response is None and request.sampling.temperature > 0
        same = replace(request, tag="", sampling=replace(request.sampling, seed=0))
        key = (canonical_json([same.messages, vars(same.sampling)]), same.purpose) if drawn else i
        found.setdefault(key, []).append(i)
    cut = (m[k : k + MOST_CHOICES] for m in found.values() for k in range(0, len(m), MOST_CHOICES))
    return {members[0]: members for members in cut}


def _used(text: str) -> tuple[int, int, int] | None:
    try:
        return usage(json.loads(text))
    except ValueError:
        return None
