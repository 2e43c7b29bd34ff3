"""A model behind any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, hosted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from prefine.engines.base import Deliver, Engine, Reply, Request
from prefine.engines.calls import Policy
from prefine.engines.chat_format import read_chat, read_score
from prefine.engines.cost import Budget, load_price
from prefine.engines.limits import Bucket, Concurrency, Endpoint
from prefine.engines.openai_batch import Batch, ScoreMode
from prefine.engines.transport import Http, key_from
from prefine.errors import PrefineError
from prefine.recipe import Recipe
from prefine.registry import engines
from prefine.schema import canonical_json


@engines.register("openai")
class OpenAIEngine(Engine):
    """A model behind a server that speaks OpenAI's protocol; many calls at once, each failure handled by itself.

    Formula: a pause before try n+1 drawn from [0, min(60, backoff x 2^(n-1))] seconds; concurrency x 0.75 at a refusal
    for the rate, + 1 after 25 successes; a call may take timeout + max_tokens / min_tokens_per_second seconds
    Defaults: base_url: one address or a list of equal servers, up to /v1; api_key_env: null sends no key;
    requests_per_minute, tokens_per_minute (of each server), budget_usd, budget_tokens: null is no limit; prices: a YAML
    file of US dollars per million tokens; patience: seconds for which a server may refuse all for its rate; revision:
    a name for the weights the server has; extra_body: more fields of the request, null leaves one out; tokenizer: null
    works for all but the log-probs of given responses; native_n: ask for the samples of a prompt by one call with n,
    whose prompt is billed once, where the server knows n (how long each sample is, is then not told)
    Needs: a server; for log-probs of given responses its /completions with echo or prompt_logprobs
    """

    features = frozenset({"first_token", "score", "seed"})
    counts: ClassVar[tuple[str, ...]] = ("revision", "tokenizer", "plain_text", "extra_body", "accept_refusals")
    accept_refusals = False

    def __init__(
        self,
        model: str,
        base_url: str | list,
        api_key_env: str | None = None,
        revision: str | None = None,
        tokenizer: str | None = None,
        plain_text: bool = False,
        max_concurrency: int = 32,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        timeout: float = 60.0,
        min_tokens_per_second: float = 10.0,
        max_tries: int = 6,
        backoff: float = 1.0,
        patience: float = 900.0,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
        prices: str | None = None,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        extra_body: dict | None = None,
        accept_refusals: bool = False,
        native_n: bool = False,
    ) -> None:
        if not base_url:
            raise ValueError("base_url must be an address or a list of them")
        if not all(
            str(u).startswith(("http://", "https://")) for u in ([base_url] if isinstance(base_url, str) else base_url)
        ):
            raise ValueError(f"base_url must begin with http:// or https://, unlike {base_url}")
        if any("@" in u for u in ([base_url] if isinstance(base_url, str) else base_url)):
            raise ValueError("base_url must hold no user or password; put the key into an environment variable")
        if max_concurrency < 1 or max_tries < 1:
            raise ValueError(f"max_concurrency and max_tries must be 1 or more, not {min(max_concurrency, max_tries)}")
        if min(timeout, min_tokens_per_second, patience) <= 0 or backoff < 0:
            raise ValueError("timeout, min_tokens_per_second and patience must be above 0, backoff 0 or more")
        if (requests_per_minute or 1) <= 0 or (tokens_per_minute or 1) <= 0:
            raise ValueError("requests_per_minute and tokens_per_minute must be above 0")
        if (budget_usd or 0) < 0 or (budget_tokens or 0) < 0:
            raise ValueError("budget_usd and budget_tokens must be 0 or more")
        if budget_usd is not None and prices is None:
            raise ValueError("budget_usd needs prices, a file with the price of the model")
        self.model, self.revision, self.accept_refusals = model, revision, accept_refusals
        self.urls = [u.rstrip("/") for u in ([base_url] if isinstance(base_url, str) else base_url)]
        self.api_key_env, self.extra, self.limit_field = api_key_env, extra_body or {}, max_tokens_field
        self.tokenizer_path, self.plain_text = tokenizer, plain_text
        self.timeout, self.min_speed, self.max_tries = timeout, min_tokens_per_second, max_tries
        self.native_n = native_n
        self.policy = Policy(max_tries, backoff, patience)
        self.endpoints = [
            Endpoint(u, Concurrency(max_concurrency), Bucket(requests_per_minute), Bucket(tokens_per_minute))
            for u in self.urls
        ]
        price = load_price(prices, model) if prices else None
        self.budget = Budget(budget_usd, budget_tokens, price)
        self.notice: Callable[[str], None] | None = None
        self.commit: Callable[[], None] | None = None
        self.tokenizer: Any = None
        self.score_mode: ScoreMode | None = None
        self.gives_first_token = False

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Nothing is asked: where the ledger has every reply, no server and no key are needed."""
        return {"model": self.model, "servers": len(self.endpoints)} | (
            {"revision": self.revision} if self.revision else {}
        )

    def identity(self) -> dict[str, str]:
        extra = canonical_json(self.extra) if self.extra else ""
        tokenizer = f"{self.tokenizer_path}{':plain' if self.plain_text else ''}" if self.tokenizer_path else ""
        found = {"model": self.model, "revision": self.revision, "extra": extra, "tokenizer": tokenizer}
        return {name: value for name, value in found.items() if value}

    def attach(self, budget: Budget, notice: Callable[[str], None] | None, commit: Callable[[], None] | None) -> None:
        """Meter calls by `budget`, tell `notice` what is waited for, keep replies by `commit` before asking more."""
        self.budget, self.notice, self.commit = budget, notice, commit

    def send(self, requests: Sequence[Request], deliver: Deliver) -> None:
        key = key_from(self.api_key_env)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._send(requests, deliver, key))
            return
        raise PrefineError("engine 'openai' has an event loop of its own: in a notebook, use asyncio.to_thread")

    async def _send(self, requests: Sequence[Request], deliver: Deliver, key: str | None) -> None:
        async with Http([e.url for e in self.endpoints], key) as http:
            await Batch(self, http, requests, deliver).run()

    def read(self, request: Request, raw: str) -> Reply:
        return read_chat(raw, self.accept_refusals) if request.response is None else read_score(raw, request.response)
