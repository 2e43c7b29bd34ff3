"""Headers that say how much a server still allows, and what follows from them."""

import asyncio
import json

import pytest

from prefine.engines.calls import Answer
from prefine.engines.limits import Bucket, Concurrency, Endpoint
from prefine.engines.rate_headers import LONGEST, duration, told
from tests.engines.test_dispatch import Run, Server, good


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1s", 1.0), ("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("7", 7.0), ("1d", 86400.0)],
)
def test_durations(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [None, "", "soon", "1 s", "2026-01-01T00:00:00Z", "-3", "nan"])
def test_what_is_no_duration(text):
    assert duration(text) is None


def headers(remaining, reset, name="requests"):
    return {f"X-RateLimit-Remaining-{name}": str(remaining), f"x-ratelimit-reset-{name}": reset}


def test_both_numbers_must_be_there():
    assert told(headers(5, "2s") | headers(100, "500ms", "tokens")) == {"requests": (5.0, 2.0), "tokens": (100.0, 0.5)}
    assert told({"x-ratelimit-remaining-requests": "5"}) == told(headers("many", "2s")) == told({}) == {}
    assert told(headers(0, "24h")) == {"requests": (0.0, LONGEST)}


def endpoint():
    return Endpoint("a", Concurrency(9), Bucket(None), Bucket(None))


def test_calls_on_their_way_are_taken_off_and_an_empty_allowance_is_waited_for():
    e = endpoint()
    for _ in range(3):
        e.start(10.0, 0.0)
    # The server allows 3 more and 35 tokens; two calls of 10 tokens may not be in that yet.
    e.ended(10.0, headers(3, "8s") | headers(35, "4s", "tokens"), 1.0)
    assert e.wait(15.0, 1.0) == 0.0 and e.wait(15.1, 1.0) == 4.0
    e.start(5.0, 2.0)
    assert e.wait(1.0, 2.0) == 7.0, "3 - 2 - 1 requests are left until 9.0"
    assert e.wait(1.0, 9.0) == 0.0
    e.ended(10.0, None, 3.0)
    e.ended(10.0, headers(2, "1s"), 3.0)
    assert e.wait(1.0, 3.0) == 0.0, "one is left beside the one on its way"


def test_what_is_asked_next_is_taken_off_until_the_server_says_more():
    e = endpoint()
    e.start(1.0, 0.0)
    e.ended(1.0, headers(9, "8s") | headers(30, "4s", "tokens"), 0.0)
    e.start(20.0, 0.0)
    assert e.wait(10.0, 0.0) == 0.0 and e.wait(10.5, 0.0) == 4.0


class Window:
    """A server that allows `most` calls in each `seconds` from 0 on, refuses others, and says so."""

    def __init__(self, most, seconds):
        self.most, self.seconds, self.used, self.refused = most, seconds, {}, 0

    def reply(self, i, n):
        now = asyncio.get_running_loop().time() - 1000.0
        window = int(now // self.seconds)
        self.used[window] = self.used.get(window, 0) + 1
        left = self.most - self.used[window]
        said = headers(max(left, 0), f"{(window + 1) * self.seconds - now:.3f}s")
        if left < 0:
            self.refused += 1
            return Answer(429, said, json.dumps({"error": {"message": "too many"}}))
        return Answer(200, said, good().text)


def test_a_servers_allowance_is_used_up_and_not_exceeded():
    window = Window(10, 20)
    server = Server(window.reply, latency=1.0)
    found = Run(server, 45, most=4).go()
    assert {o.status for o in found.outcomes.values()} == {"ok"} and window.refused == 0
    assert max(window.used.values()) <= 10 and found.ended <= 6 * 20
