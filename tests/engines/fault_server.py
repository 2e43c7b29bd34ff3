"""A server on 127.0.0.1 that speaks OpenAI's protocol and misbehaves by seed, in every way that servers have.

Replies depend on the request alone, so a client that copes ends with the same replies as from a server without faults.
Each request is treated badly at most `most_faults` times.
"""

import asyncio
import hashlib
import json
import math
import random
import threading
import time
from collections import Counter
from email.utils import formatdate

KINDS = (
    "429",
    "429_after",
    "500",
    "html_503",
    "hang",
    "half_json",
    "error_200",
    "truncated",
    "reset",
    "overloaded_200",
)
TRIED_AGAIN = {*KINDS} - {"429", "429_after"}
"""Faults that count as a try."""


def logp_of(ids, place):
    """The log-prob that the server gives to the token at `place` of a prompt: a function of it and those before."""
    return -0.01 * (sum(ids[: place + 1]) % 97) - 0.001 * place


class FaultServer:
    """Use as a context manager; `url` goes up to /v1. `answer(body)` may return another body, or (status, text)."""

    def __init__(self, *, seed=0, rate=0.0, kinds=KINDS, most_faults=3, latency=0.0, answer=None, key=None, hang=30.0):
        self.seed, self.rate, self.kinds, self.most_faults, self.latency = seed, rate, kinds, most_faults, latency
        self.answer, self.key, self.hang = answer, key, hang
        self.logprobs = self.echo = self.prompt_logprobs = True
        self.calls = Counter()
        """POSTs by their body."""
        self.faults = Counter()
        self.gets = self.now = self.most_at_once = 0
        self.arrivals = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._stop, self._open = asyncio.Event(), set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connection(self, reader, writer):
        task = asyncio.current_task()
        self._open.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader, writer):
        """One request and its response; False when the connection is over."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines if line)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split()
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            said = headers.get("authorization", "")
            return await self._send(writer, 401, {"error": {"code": "invalid_api_key", "message": f"wrong: {said}"}})
        if method == "GET":
            self.gets += 1
            return await self._send(writer, 200, {"object": "list", "data": [{"id": "toy"}]})
        digest = hashlib.sha256(data).hexdigest()
        self.calls[digest] += 1
        self.arrivals.append(time.monotonic())
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            return await self._post(writer, path, json.loads(data), digest)
        finally:
            self.now -= 1

    async def _post(self, writer, path, body, digest):
        if self.latency:
            await asyncio.sleep(self.latency)
        fault = self._fault(digest)
        good = self._good(path, body)
        if fault is None:
            status, reply = good if isinstance(good, tuple) else (200, good)
            return await self._send(writer, status, reply)
        self.faults[fault] += 1
        return await self._misbehave(writer, fault, json.dumps(good).encode())

    def _fault(self, digest):
        draw = random.Random(f"{self.seed}:{digest}:{self.calls[digest]}")
        if self.calls[digest] > self.most_faults or draw.random() >= self.rate:
            return None
        return draw.choice(self.kinds)

    async def _misbehave(self, writer, fault, good):
        if fault == "hang":
            await asyncio.sleep(self.hang)
            return False
        if fault == "reset":
            return False
        if fault == "truncated":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(good), good[: len(good) // 2]))
            await writer.drain()
            return False
        if fault == "half_json":
            return await self._send(writer, 200, good[: len(good) // 2])
        if fault == "html_503":
            return await self._send(writer, 503, b"<html><h1>Service Unavailable</h1></html>")
        if fault == "500":
            return await self._send(writer, 500, {"error": {"type": "server_error", "message": "oh"}})
        if fault == "error_200":
            return await self._send(writer, 200, {"error": {"type": "server_error", "message": "internal"}})
        if fault == "overloaded_200":
            return await self._send(writer, 200, {"error": {"message": "overloaded, try again", "code": 503}})
        more = {"429": (), "429_after": (("retry-after-ms", "20"),)}[fault]
        body = {"error": {"type": "rate_limit_error", "message": "slow down"}}
        return await self._send(writer, 429, body, more)

    async def _send(self, writer, status, body, more=()):
        data = (
            body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        )
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(data)}", f"date: {formatdate(usegmt=True)}"]
        lines += [f"{k}: {v}" for k, v in more]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        return True

    def _good(self, path, body):
        if self.answer is not None:
            found = self.answer(body)
            if found is not None:
                return found
        return self._score(body) if path.endswith("/completions") and "prompt" in body else self._chat(body)

    def _chat(self, body):
        said = body["messages"][-1]["content"]
        text = f"reply to {said}: {hashlib.sha256(said.encode()).hexdigest()[:12]}"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if body.get("logprobs") and self.logprobs:
            top = [
                {"token": "A", "logprob": math.log(0.5)},
                {"token": "B", "logprob": math.log(0.25)},
                {"token": "A", "logprob": math.log(0.125)},
            ][: body["top_logprobs"]]
            choice["logprobs"] = {"content": [{"token": "A", "logprob": math.log(0.5), "top_logprobs": top}]}
        used = {"prompt_tokens": len(said), "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": used}

    def _score(self, body):
        ids = body["prompt"]
        choice = {"index": 0, "text": "x", "finish_reason": "length"}
        if body.get("echo"):
            if not self.echo:
                return 400, {"error": {"type": "invalid_request_error", "message": "echo is not supported"}}
            logps = [None] + [logp_of(ids, k) for k in range(1, len(ids))] + [-1.0]
            choice["logprobs"] = {"token_logprobs": logps}
        if body.get("prompt_logprobs") is not None:
            if not self.prompt_logprobs:
                return 400, {"error": {"type": "invalid_request_error", "message": "unknown field prompt_logprobs"}}
            found = [{str(t): {"logprob": logp_of(ids, k)}} for k, t in enumerate(ids)]
            choice["prompt_logprobs"] = [None, *found[1:]]
        used = {"prompt_tokens": len(ids), "completion_tokens": 1}
        return {"object": "text_completion", "model": body["model"], "choices": [choice], "usage": used}
