"""What may be asked of a model wherever it runs, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from prefine.recipe import Recipe
from prefine.schema import Message, digest

REQUEST_VERSION = 1

Feature = Literal["first_token", "score", "seed"]
"""What an engine can do beyond writing text: the alternatives of the first token, log-probs of a given response,
sampling that a seed repeats."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole vocabulary."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    seed: int = 0
    top_logprobs: int = 0
    """How many alternatives of the first token are wanted, with their log-probs; 0 for none."""


@dataclass(frozen=True)
class Request:
    """One call: a conversation that a model is to answer, or, with `response`, an answer whose log-probs are wanted."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    purpose: str = ""
    """What asks, with the version of its prompts: `judge_single:1f3a`. Part of the key."""
    tag: str = ""
    """Tells apart requests that are equal but must be answered each for itself: the prompt's id and the index of a
    sample, the number of a second try. Empty where equal requests may share an answer."""
    response: str | None = None

    def key(self, engine: dict[str, str]) -> str:
        """Content-derived id (64 hex): what is asked, of which model; not where it runs, nor when, nor how fast."""
        return digest({"version": REQUEST_VERSION, "engine": engine, **vars(self), "sampling": vars(self.sampling)})


@dataclass
class Reply:
    """What a request got. A `status` other than `ok` says why there is no text."""

    text: str = ""
    finish_reason: str | None = None
    """`stop`, `length` or `content_filter`."""
    status: str = "ok"
    """`ok`, `failed_retryable` or `failed_permanent`."""
    error: str = ""
    """The reason of a failure: a short name (`content_filter`, `context_length`, `timeout`), a colon, details."""
    first_token: dict[str, float] = field(default_factory=dict)
    """Text to log-prob of the first token's likeliest alternatives; equal texts of several tokens are summed."""
    logps: list[float] | None = None
    """Log-prob at temperature 1 of each token of the reply, or of `Request.response` and its end of turn."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    """The name under which the server says that it answered."""
    key: str = field(default="", compare=False)
    """Of the request in the ledger, where the raw reply is; empty outside of a session."""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass
class Outcome:
    """How a call ended, as the ledger keeps it. `raw` is the body as it came; `Engine.read` makes sense of it."""

    status: Literal["ok", "failed_retryable", "failed_permanent"] = "ok"
    raw: str = ""
    error: str = ""
    seconds: float = 0.0
    tries: int = 1
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


Deliver = Callable[[int, Outcome], None]
"""Takes the place of a request in the sequence that was sent, and how it ended."""


class Engine:
    """Answers requests. Failures are of single requests: one that fails never touches its neighbors."""

    features: ClassVar[frozenset[str]] = frozenset()

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Load or connect, and check what can be checked, before the first request. Returns facts for the manifest."""
        return {}

    def identity(self) -> dict[str, str]:
        """What a reply depends on besides the request: the model and its revision or digest. Called after `prepare`."""
        raise TypeError(f"{type(self).__name__} has no method identity()")

    def batches(self, requests: Sequence[Request]) -> list[list[int]] | None:
        """Places of the requests that are computed together, and of which all or none must be recorded.

        Numbers depend in their last digits on what is computed beside them. So that a run that was interrupted ends
        like one that was not, what is left over must fall into the same batches. None where it does not matter.
        """
        return None

    def send(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Ask all, in any order and at any concurrency; `deliver` each outcome as soon as it is known, in this thread.

        Raises `PrefineError` when going on is pointless (no money left, a wrong key); what was delivered stays.
        """
        raise TypeError(f"{type(self).__name__} has no method send(requests, deliver)")

    def read(self, request: Request, raw: str) -> Reply:
        """The reply in a stored body: pure, so that it can be read anew by a later version."""
        raise TypeError(f"{type(self).__name__} has no method read(request, raw)")

    def close(self) -> None:
        """Let go of memory and connections."""
