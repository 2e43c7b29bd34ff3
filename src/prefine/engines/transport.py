"""HTTP to servers: one connection pool, no retries of its own, no redirects, and a key that stays in memory."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from prefine.engines.calls import Answer, Unreached
from prefine.errors import PrefineError

CONNECT_SECONDS = 10.0
GREETINGS = 3
"""Times that a server is looked for before the first call."""
_JSON = {"content-type": "application/json"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def key_from(variable: str | None) -> str | None:
    """The API key in an environment variable; one that is named and not set is an error."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise PrefineError(f"api_key_env: the environment variable {variable} is not set")
    return key


class Http:
    """Connections to `urls`, as an async context manager.

    Each call under way has a client with one connection to itself: what a shared pool does per call grows with the
    number of its connections.
    """

    def __init__(self, urls: Sequence[str], key: str | None) -> None:
        self.urls, self._key = urls, key
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._clients: list[Any] = []
        self._verify: Any = any(u.startswith("https://") for u in urls)

    async def __aenter__(self) -> Self:
        import httpx2

        if self._verify:
            self._verify = httpx2.create_ssl_context()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(c.aclose() for c in self._clients), return_exceptions=True)

    def _client(self) -> Any:
        import httpx2

        client = httpx2.AsyncClient(
            headers={"authorization": f"Bearer {self._key}"} if self._key else {},
            verify=self._verify,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=1),
            follow_redirects=False,
            # A proxy of the environment is for the outside only.
            trust_env=not all(urlsplit(u).hostname in _LOOPBACK for u in self.urls),
        )
        self._clients.append(client)
        return client

    async def post(self, url: str, body: bytes, seconds: float) -> Answer:
        """A POST of JSON; `seconds` bounds all of it. Raises `Unreached`."""
        return await self._ask("POST", url, body, seconds)

    async def greet(self) -> None:
        """Make sure that a server is there and takes the key, before many calls are made in vain."""
        for turn in range(GREETINGS):
            found = await asyncio.gather(*(self._greet(u) for u in self.urls))
            if any(f is None for f in found):
                return
            if turn < GREETINGS - 1:
                await asyncio.sleep(0.3)
        raise PrefineError(f"no server answers at {', '.join(self.urls)} ({found[0]}); is it running?")

    async def _greet(self, url: str) -> str | None:
        """None when there is a server, otherwise what went wrong."""
        try:
            answer = await self._ask("GET", f"{url}/models", b"", CONNECT_SECONDS)
        except Unreached as error:
            return str(error) if not error.billed else None
        if answer.status in (401, 403):
            named = "it needs a key: set api_key_env" if self._key is None else "it does not accept the key"
            raise PrefineError(f"the server at {url} answers HTTP {answer.status}: {named}")
        return None

    async def _ask(self, method: str, url: str, body: bytes, seconds: float) -> Answer:
        import httpx2

        idle = self._idle[urlsplit(url).netloc]
        client = idle.pop() if idle else self._client()
        try:
            async with asyncio.timeout(seconds):
                response = await client.request(method, url, content=body, headers=_JSON if body else None)
        except TimeoutError as error:
            raise Unreached("timeout", f"no reply within {seconds:.1f} s") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreached("unreachable", _words(error), billed=False) from error
        except (httpx2.RequestError, httpx2.StreamError) as error:
            raise Unreached("broken_connection", _words(error)) from error
        finally:
            idle.append(client)
        return Answer(response.status_code, dict(response.headers), self.without_key(response.text))

    def without_key(self, text: str) -> str:
        """The text without the key, should a server repeat it."""
        return text.replace(self._key, "[key]") if self._key and self._key in text else text


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
