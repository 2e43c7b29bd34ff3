"""How fast a server may be asked: rates, concurrency, pauses. Time is given, never read, so that tests can make it up.

All times are seconds of one clock that only moves forward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prefine.engines.rate_headers import Left, told

BURST = 0.1
"""Share of a minute's allowance that may be used at once; the rest comes evenly, so that no minute gets more."""
DECREASE = 0.75
"""Concurrency is multiplied by this when the server refuses for its rate."""
INCREASE_AFTER = 25
"""Successes after which concurrency grows by one."""
UNHEALTHY_AFTER = 5
"""Failures in a row after which another server is preferred."""
REST = 15.0
"""Seconds for which it is."""


class Bucket:
    """A token bucket: what is taken in any 60 seconds stays within `per_minute`; None takes without a limit.

    An amount above the bucket's size waits for a full bucket and leaves a debt.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.per_minute = per_minute
        self.size = BURST * (per_minute or 0.0)
        self.rate = (1 - BURST) * (per_minute or 0.0) / 60
        self.level, self._at = self.size, 0.0

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken."""
        if self.per_minute is None:
            return 0.0
        self._fill(now)
        missing = min(amount, self.size) - self.level
        # A remainder that rounding left would else be waited for again and again.
        return 0.0 if missing <= 1e-9 * self.size else missing / self.rate

    def take(self, amount: float, now: float) -> None:
        self._fill(now)
        self.level -= amount

    def give(self, amount: float) -> None:
        """Return what was taken and not used; a negative amount is what was used beyond it."""
        self.level = min(self.size, self.level + amount)

    def _fill(self, now: float) -> None:
        self.level = min(self.size, self.level + self.rate * (now - self._at))
        self._at = now


class Concurrency:
    """Additive increase, multiplicative decrease of the number of calls at once, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._limit, self._successes, self._lowered = float(most), 0, float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    def succeeded(self) -> None:
        self._successes += 1
        if self._successes >= INCREASE_AFTER:
            self._successes = 0
            self._limit = min(float(self.most), self._limit + 1)

    def refused(self, sent: float, now: float) -> None:
        """The server refused a call made at `sent`; calls that were under way at the last decrease say nothing new."""
        self._successes = 0
        if sent >= self._lowered:
            self._limit, self._lowered = max(1.0, self._limit * DECREASE), now


@dataclass
class Endpoint:
    """One server, and how much it is used."""

    url: str
    concurrency: Concurrency
    requests: Bucket
    tokens: Bucket
    in_flight: int = 0
    unanswered: list[float] = field(default_factory=list, repr=False)
    """The tokens of each call that is on its way."""
    left: dict[str, Left] = field(default_factory=dict, repr=False)
    """What the server says may still be asked of it, without what is on its way."""
    paused_until: float = 0.0
    resting_until: float = 0.0
    failures: int = field(default=0, repr=False)

    def wait(self, tokens: float, now: float) -> float | None:
        """Seconds until a call of so many tokens may be made; None: only after a reply to one under way."""
        if self.in_flight >= self.concurrency.limit:
            return None
        waits = [self.paused_until - now, self.requests.wait(1, now), self.tokens.wait(tokens, now)]
        needed = {"requests": 1.0, "tokens": tokens}
        waits += [known.wait(needed[name], now) for name, known in self.left.items()]
        return max(0.0, *waits)

    def start(self, tokens: float, now: float) -> None:
        self.in_flight += 1
        self.unanswered.append(tokens)
        self.requests.take(1, now)
        self.tokens.take(tokens, now)
        for name, known in self.left.items():
            known.amount -= tokens if name == "tokens" else 1

    def ended(self, tokens: float, headers: Mapping[str, str] | None, now: float) -> None:
        """A call is over; the headers of its reply may say what the server still allows.

        Calls on their way may not be in these numbers yet, so they are taken off.
        """
        self.unanswered.remove(tokens)
        for name, (amount, seconds) in told(headers or {}).items():
            out = math.fsum(self.unanswered) if name == "tokens" else len(self.unanswered)
            self.left[name] = Left(amount - out, now + seconds)

    def pause(self, seconds: float, now: float) -> None:
        """Make no call for some time; calls under way go on."""
        self.paused_until = max(self.paused_until, now + seconds)

    def answered(self) -> None:
        """The server works."""
        self.failures, self.resting_until = 0, 0.0

    def failed(self, now: float) -> None:
        """The server could not be reached, or broke down."""
        self.failures += 1
        if self.failures >= UNHEALTHY_AFTER:
            self.resting_until = now + REST


def choose(endpoints: Sequence[Endpoint], tokens: float, now: float) -> tuple[Endpoint | None, float | None]:
    """The server for the next call, the least used of those that work; else how long to wait (None: for a reply).

    Servers that failed again and again are asked only when no other is there.
    """
    working = [e for e in endpoints if e.resting_until <= now] or endpoints
    waits = [(e.wait(tokens, now), e) for e in working]
    free = [e for wait, e in waits if wait == 0.0]
    if free:
        return min(free, key=lambda e: e.in_flight), None
    known = [wait for wait, _ in waits if wait is not None]
    return None, min(known) if known else None
