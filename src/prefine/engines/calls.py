"""What goes to a server and comes back, as plain data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from prefine.engines.base import Outcome
from prefine.engines.limits import Endpoint

DRAIN = 30.0
"""Longest time, in seconds, that a stop waits for the calls under way."""


@dataclass
class Answer:
    """A response over HTTP, as it came."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(eq=False)
class Job:
    """A request on its way. `tokens` is what it takes of the rate, `most` the tokens it can be billed for."""

    index: int
    tokens: float = 0.0
    most: tuple[int, int] = (0, 0)
    tries: int = 0
    refusals: int = 0
    seconds: float = 0.0
    used: list[int] = field(default_factory=lambda: [0, 0, 0])


Post = Callable[[Endpoint, Job], Awaitable[Answer]]
"""Makes a call; raises `Unreached` for one without a response."""
Finish = Callable[[Job, str], Outcome]
"""What a good response comes to, from its body."""
Usage = Callable[[str], tuple[int, int, int] | None]
"""Tokens that a body says it used: prompt, cached, reply."""


class Unreached(Exception):
    """A call without a response. `billed` is False when it surely never reached the server."""

    def __init__(self, reason: str, detail: str, *, billed: bool = True) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.billed = reason, detail, billed


@dataclass
class Policy:
    """How failures are met. `patience` is how long, in seconds, a server may refuse everything for its rate."""

    max_tries: int = 6
    backoff: float = 1.0
    patience: float = 900.0
    drain: float = DRAIN
