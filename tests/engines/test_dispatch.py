"""Calls under way, against made-up servers in made-up time."""

import asyncio
import json
import os
import random
import signal
from collections import Counter

import pytest

from prefine.engines.base import Outcome
from prefine.engines.calls import Answer, Job, Policy, Unreached
from prefine.engines.cost import Budget
from prefine.engines.dispatch import Dispatcher
from prefine.engines.limits import Bucket, Concurrency, Endpoint
from prefine.errors import EXIT_INTERRUPTED, Interrupted, PrefineError
from tests.engines.virtual import run


def good(prompt=5, completion=3, **headers):
    body = {"choices": [{}], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    return Answer(200, headers, json.dumps(body))


def bad(status, message="no", headers=None, **more):
    return Answer(status, headers or {}, json.dumps({"error": {"message": message, **more}}))


class Server:
    """`reply(index, n)` gives the answer to the n-th call (from 1) for a request, or raises; notes all calls."""

    def __init__(self, reply, latency=1.0):
        self.reply, self.latency = reply, latency
        self.times, self.urls, self.tries = [], Counter(), Counter()
        self.now = self.most_at_once = 0

    async def post(self, endpoint, job):
        self.times.append((job.index, asyncio.get_running_loop().time() - 1000.0))
        self.urls[endpoint.url] += 1
        self.tries[job.index] += 1
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            latency = self.latency(job.index) if callable(self.latency) else self.latency
            await asyncio.sleep(latency)
            return self.reply(job.index, self.tries[job.index])
        finally:
            self.now -= 1


def usage(text):
    found = json.loads(text).get("usage")
    return (found["prompt_tokens"], 0, found["completion_tokens"]) if found else None


class Run:
    """What `n` jobs came to: outcomes by index (every delivery in `deliveries`), and the error that ended the run."""

    def __init__(self, server, n, *, endpoints=None, most=4, policy=None, budget=None, job=None, **more):
        self.outcomes, self.deliveries, self.error, self.said = {}, [], None, []
        endpoints = endpoints or [Endpoint("a", Concurrency(most), Bucket(None), Bucket(None))]
        self.dispatcher = Dispatcher(
            endpoints,
            server.post,
            lambda job, text: Outcome(raw=text),
            usage,
            self._deliver,
            policy or Policy(),
            budget=budget,
            notice=self.said.append,
            draw=random.Random(0),
            **more,
        )
        self.jobs = [job(i) if job else Job(i, 8.0, (5, 3)) for i in range(n)]

    def _deliver(self, index, outcome):
        self.deliveries.append(index)
        self.outcomes[index] = outcome

    def go(self, beside=None):
        async def main():
            task = asyncio.ensure_future(beside(self.dispatcher)) if beside else None
            try:
                await self.dispatcher.run(self.jobs)
            except (PrefineError, ZeroDivisionError) as error:
                self.error = error
            self.ended = asyncio.get_running_loop().time() - 1000.0
            if task is not None:
                task.cancel()

        run(main())
        return self


def test_all_are_answered_at_the_allowed_concurrency():
    server = Server(lambda i, n: good())
    found = Run(server, 10, most=4).go()
    assert server.most_at_once == 4 and sorted(found.deliveries) == list(range(10))
    assert [t for _, t in server.times] == [0.0] * 4 + [1.0] * 4 + [2.0] * 2
    assert {o.status for o in found.outcomes.values()} == {"ok"}
    assert {(o.tries, o.prompt_tokens, o.completion_tokens) for o in found.outcomes.values()} == {(1, 5, 3)}


@pytest.mark.acceptance(name="limiter")
def test_a_pause_that_the_server_asks_for_is_kept_and_not_a_try():
    def reply(i, n):
        return bad(429, headers={"Retry-After": "7"}) if (i, n) == (0, 1) else good()

    server = Server(reply, latency=lambda i: 1.0 if i == 0 else 2.0)
    found = Run(server, 6, most=2).go()
    # Both places start at 0; request 0 is refused at 1, so that nothing starts before 8.
    assert [t for _, t in server.times][:3] == [0.0, 0.0, pytest.approx(8.0)]
    assert all(t >= 8.0 for _, t in server.times[2:])
    assert {o.tries for o in found.outcomes.values()} == {1} and server.tries[0] == 2
    assert any("pause of 7.0 s" in text for text in found.said)


def test_refusals_without_a_pause_lower_the_concurrency_and_are_not_tries():
    def reply(i, n):
        return bad(429) if n <= 8 and i < 8 else good()

    server = Server(reply)
    endpoint = Endpoint("a", Concurrency(8), Bucket(None), Bucket(None))
    found = Run(server, 20, endpoints=[endpoint], policy=Policy(max_tries=2)).go()
    assert {o.status for o in found.outcomes.values()} == {"ok"}
    assert {o.tries for o in found.outcomes.values()} == {1}
    assert any("6 calls at once" in text for text in found.said)


@pytest.mark.acceptance(name="limiter")
def test_transient_failures_are_tried_again_with_growing_pauses():
    server = Server(lambda i, n: bad(500) if n < 6 else good())
    found = Run(server, 1).go()
    assert found.outcomes[0].status == "ok" and found.outcomes[0].tries == 6
    gaps = [b - a - 1.0 for (_, a), (_, b) in zip(server.times, server.times[1:], strict=False)]
    assert all(0 <= gap <= 2**k for k, gap in enumerate(gaps)) and len(set(gaps)) == 5
    assert any(gap > 1.0 for gap in gaps)


def test_a_request_that_never_works_is_given_up_with_its_reason():
    server = Server(lambda i, n: bad(500, "broken") if i == 0 else good())
    found = Run(server, 3, policy=Policy(max_tries=4)).go()
    assert found.outcomes[0].status == "failed_retryable" and found.outcomes[0].tries == 4
    assert found.outcomes[0].error == "http_500: HTTP 500, broken" and server.tries[0] == 4
    assert found.error is None


def test_a_breakdown_with_a_pause_waits_at_least_as_long():
    server = Server(lambda i, n: bad(503, headers={"retry-after": "40"}) if n == 1 else good())
    Run(server, 1).go()
    assert server.times[1][1] >= 41.0


def test_permanent_failures_are_not_repeated():
    server = Server(lambda i, n: bad(400, "bad field") if i % 2 else good())
    found = Run(server, 40).go()
    assert all(server.tries[i] == 1 for i in range(40)) and found.error is None
    assert Counter(o.status for o in found.outcomes.values()) == {"ok": 20, "failed_permanent": 20}


def test_more_than_20_failures_in_a_row_stop_the_run_and_are_not_held_against_the_requests():
    server = Server(lambda i, n: bad(404, "The model 'x' does not exist") if i >= 5 else good())
    found = Run(server, 200, most=1).go()
    assert isinstance(found.error, PrefineError) and "not_found" in str(found.error)
    assert "21 requests in a row" in str(found.error)
    assert sum(server.tries.values()) == 5 + 21
    assert [found.outcomes[i].status for i in range(5, 26)] == ["failed_retryable"] * 21
    assert found.outcomes[5].tries == 0 and found.deliveries.count(5) == 2


def test_content_that_is_refused_says_nothing_about_the_set_up():
    server = Server(lambda i, n: bad(400, "x", code="context_length_exceeded"))
    found = Run(server, 60).go()
    assert found.error is None
    assert {(o.status, o.error.split(":")[0]) for o in found.outcomes.values()} == {
        ("failed_permanent", "context_length")
    }


@pytest.mark.parametrize("answer", [bad(402), bad(429, code="insufficient_quota")])
def test_an_empty_account_stops_what_can_be_resumed_and_keeps_what_is_under_way(answer):
    server = Server(lambda i, n: answer if i == 0 else good(), latency=lambda i: 1.0 if i == 0 else 5.0)
    found = Run(server, 50, most=4).go()
    assert isinstance(found.error, Interrupted) and found.error.exit_code == EXIT_INTERRUPTED
    assert sorted(found.deliveries) == [1, 2, 3] and len(server.times) == 4


def test_a_wrong_key_stops_at_once():
    server = Server(lambda i, n: bad(401, "Incorrect API key"))
    found = Run(server, 50, most=4).go()
    assert type(found.error) is PrefineError and "does not accept the key" in str(found.error)
    assert len(server.times) == 4 and not found.deliveries


def test_a_server_that_refuses_for_longer_than_the_patience_stops_what_can_be_resumed():
    server = Server(lambda i, n: bad(429))
    found = Run(server, 3, policy=Policy(patience=100)).go()
    assert isinstance(found.error, Interrupted) and "has refused for" in str(found.error)
    assert 100 < server.times[-1][1] < 250
    server = Server(lambda i, n: bad(429, headers={"retry-after": "86400"}))
    found = Run(server, 3, policy=Policy(patience=100)).go()
    assert isinstance(found.error, Interrupted) and "asks to wait 86400 s" in str(found.error)
    assert server.times[-1][1] == 0.0


def test_patience_starts_anew_with_every_reply():
    server = Server(lambda i, n: bad(429) if n == 1 and i % 2 else good(), latency=60.0)
    found = Run(server, 8, most=1, policy=Policy(patience=200)).go()
    assert found.error is None and server.times[-1][1] > 300


@pytest.mark.acceptance(name="cost")
def test_no_call_is_made_that_could_exceed_the_budget():
    server = Server(lambda i, n: good(5, 1))
    budget = Budget(tokens=100)
    found = Run(server, 50, most=8, budget=budget).go()
    assert isinstance(found.error, Interrupted) and "budget" in str(found.error)
    # 6 tokens a call, and 8 have to be free before it: 16 calls use 96, 15 use 90, a 16th would need 98.
    assert len(server.times) == 16 and budget.spent_tokens == 96 and len(found.deliveries) == 16


def test_a_call_without_a_bill_counts_at_its_highest_unless_it_never_arrived():
    def reply(i, n):
        raise Unreached("unreachable", "refused", billed=False) if i == 0 else Unreached("timeout", "1 s")

    budget = Budget(tokens=10_000)
    Run(Server(reply), 2, budget=budget, policy=Policy(max_tries=3)).go()
    assert budget.spent_tokens == 3 * 8
    budget = Budget(tokens=10_000)
    Run(Server(lambda i, n: bad(500) if n < 3 else good()), 1, budget=budget).go()
    assert budget.spent_tokens == 8


def test_tokens_of_replies_that_were_thrown_away_are_counted():
    def reply(i, n):
        body = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
        return Answer(200, {}, json.dumps(body)) if n == 1 else good()

    found = Run(Server(reply), 1).go()
    assert found.outcomes[0].prompt_tokens == 10 and found.outcomes[0].completion_tokens == 6


def test_requests_per_minute_are_kept():
    server = Server(lambda i, n: good(), latency=0.1)
    endpoint = Endpoint("a", Concurrency(50), Bucket(60), Bucket(None))
    Run(server, 200, endpoints=[endpoint]).go()
    times = [t for _, t in server.times]
    assert max(sum(s <= t < s + 60 for t in times) for s in times) <= 60
    # 6 at once, then 0.9 a second: the last of 200 starts after 194 / 0.9 seconds.
    assert times[-1] == pytest.approx(194 / 0.9, rel=0.01)


def test_tokens_per_minute_count_what_was_used_not_what_was_held():
    server = Server(lambda i, n: good(50, 50), latency=0.1)
    endpoint = Endpoint("a", Concurrency(1), Bucket(None), Bucket(10_000))
    Run(server, 100, endpoints=[endpoint], job=lambda i: Job(i, 1000.0, (500, 500))).go()
    # 100 calls of 100 tokens each at 150 a second, after 1,000 at once.
    assert server.times[-1][1] < 100


@pytest.mark.parametrize("seed", range(5))
def test_neighbors_are_not_affected_by_random_failures(seed):
    plans = {}
    for i in range(200):
        draw = random.Random(f"{seed}:{i}")
        plans[i] = [draw.choice(["500", "429", "reset", "400"]) if draw.random() < 0.3 else "ok" for _ in range(50)]

    def reply(i, n):
        what = plans[i][n - 1]
        if what == "reset":
            raise Unreached("broken_connection", "reset")
        return good() if what == "ok" else bad(int(what))

    def alone(plan):
        tries = 0
        for what in plan:
            tries += what != "429"
            if what in ("ok", "400") or tries == 6:
                return ("ok" if what == "ok" else "failed_permanent" if what == "400" else "failed_retryable"), tries
        raise AssertionError

    found = Run(Server(reply), 200, most=16).go()
    assert found.error is None
    assert {i: (o.status, o.tries) for i, o in found.outcomes.items()} == {i: alone(plans[i]) for i in plans}
    assert sorted(found.deliveries) == list(range(200))


def test_a_dead_server_gets_few_calls_while_another_works():
    def make(url):
        return Endpoint(url, Concurrency(4), Bucket(None), Bucket(None))

    server = Server(lambda i, n: good())
    plain = server.post

    async def post(endpoint, job):
        if endpoint.url == "dead":
            server.urls["dead"] += 1
            raise Unreached("unreachable", "refused", billed=False)
        return await plain(endpoint, job)

    server.post = post
    found = Run(server, 100, endpoints=[make("dead"), make("alive")]).go()
    assert {o.status for o in found.outcomes.values()} == {"ok"}
    assert server.urls["dead"] <= 20 and server.urls["alive"] == 100


def test_work_is_spread_over_servers():
    servers = [Endpoint(url, Concurrency(4), Bucket(None), Bucket(None)) for url in "abc"]
    server = Server(lambda i, n: good())
    Run(server, 120, endpoints=servers).go()
    assert server.urls == {"a": 40, "b": 40, "c": 40} and server.most_at_once == 12


async def _stop_at_2(dispatcher):
    await asyncio.sleep(2.5)
    dispatcher.interrupt()


def test_a_stop_waits_for_what_is_under_way_and_starts_nothing():
    server = Server(lambda i, n: good(), latency=10.0)
    found = Run(server, 50, most=4).go(_stop_at_2)
    assert isinstance(found.error, Interrupted) and found.error.exit_code == EXIT_INTERRUPTED
    assert sorted(found.deliveries) == [0, 1, 2, 3] == sorted(i for i, _ in server.times)


def test_a_stop_waits_no_longer_than_30_seconds():
    server = Server(lambda i, n: good(), latency=lambda i: 10.0 if i == 0 else 1000.0)
    found = Run(server, 50, most=4).go(_stop_at_2)
    assert sorted(found.deliveries) == [0] and server.now == 0 and found.ended == pytest.approx(32.5)


def test_a_second_stop_gives_up_what_is_under_way():
    at = []

    async def twice(dispatcher):
        await asyncio.sleep(2)
        dispatcher.interrupt()
        await asyncio.sleep(1)
        dispatcher.interrupt()
        at.append(asyncio.get_running_loop().time())

    server = Server(lambda i, n: good(), latency=20.0)
    found = Run(server, 50, most=4).go(twice)
    assert isinstance(found.error, Interrupted) and not found.deliveries and at == [1003.0]


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_in_order_and_their_handlers_are_put_back(name):
    def before(*_):
        raise AssertionError("not while calls are under way")

    async def kill(dispatcher):
        await asyncio.sleep(0.5)
        os.kill(os.getpid(), name)

    server = Server(lambda i, n: good(), latency=1.0)
    old = signal.signal(name, before)
    try:
        found = Run(server, 1000, most=2).go(kill)
        assert signal.getsignal(name) is before
    finally:
        signal.signal(name, old)
    assert isinstance(found.error, Interrupted) and 0 < len(found.deliveries) < 1000


def test_a_mistake_in_our_own_code_is_not_swallowed():
    def reply(i, n):
        return 1 / 0 if i == 3 else good()

    found = Run(Server(reply), 10).go()
    assert isinstance(found.error, ZeroDivisionError)


def test_no_more_calls_are_unsaved_or_under_way_than_may_be():
    """A crash repeats what is under way or not yet on the disk: together at most the concurrency."""
    unsaved, worst = [], []
    server = Server(lambda i, n: good(), latency=0.001)

    class Watched(Run):
        def _deliver(self, index, outcome):
            super()._deliver(index, outcome)
            unsaved.append(index)
            worst.append(len(unsaved) + server.now)

    found = Watched(server, 300, most=8, commit=unsaved.clear)

    async def main():
        await found.dispatcher.run(found.jobs)

    asyncio.run(main())
    assert sorted(found.deliveries) == list(range(300)) and max(worst) <= 8


def test_a_commit_that_fails_stops_the_run():
    def commit():
        raise PrefineError("the disk is full")

    found = Run(Server(lambda i, n: good(), latency=0.001), 300, commit=commit)
    with pytest.raises(PrefineError, match="disk is full"):
        asyncio.run(found.dispatcher.run(found.jobs))
    assert len(found.deliveries) < 300
