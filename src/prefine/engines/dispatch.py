"""Calls under way: as many at once as the limits allow, each failure handled by itself, a stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prefine.engines.base import Deliver, Outcome
from prefine.engines.calls import Answer, Finish, Job, Policy, Post, Unreached, Usage
from prefine.engines.cost import Budget
from prefine.engines.faults import Breaker, Fault, backoff, classify
from prefine.engines.limits import Endpoint, choose
from prefine.errors import Interrupted, PrefineError

_MAYBE_BILLED = ("timeout", "broken_connection", "broken_reply")
_STOPPED = "stopped; every reply that came is kept, and the same command goes on from there"


class Dispatcher:
    """Sends jobs to endpoints and delivers their outcomes. One use: `await run(jobs)`."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        post: Post,
        finish: Finish,
        used: Usage,
        deliver: Deliver,
        policy: Policy,
        *,
        budget: Budget | None = None,
        notice: Callable[[str], None] | None = None,
        commit: Callable[[], None] | None = None,
        draw: random.Random | None = None,
    ) -> None:
        self.endpoints, self.policy, self.budget = endpoints, policy, budget
        self._post, self._finish, self._used, self._deliver, self._notice = post, finish, used, deliver, notice
        self._commit, self._draw = commit, draw or random.Random()
        self._unsaved: list[Endpoint] = []
        """A place for each outcome that is delivered and may not be on the disk yet."""
        self._saving: asyncio.Task[None] | None = None
        self._ready: deque[Job] = deque()
        self._later: list[tuple[float, int, Job]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._breaker = Breaker()
        self._changed = asyncio.Event()
        self._stop: BaseException | None = None
        self._asked_to_stop = False
        self._last_good = 0.0

    async def run(self, jobs: Sequence[Job]) -> None:
        """Until every job has an outcome; raises what made going on pointless, after the calls under way ended."""
        self._last_good = self._now()
        self._ready.extend(jobs)
        with self._signals():
            while self._stop is None and (self._ready or self._later or self._tasks):
                self._save_some()
                wait = self._start_some()
                if self._stop is None and (self._ready or self._later or self._tasks):
                    await self._news(wait)
            await self._drain()
        if self._stop is not None:
            raise self._stop

    def stop(self, why: BaseException) -> None:
        """Start no more calls; those under way may end."""
        self._stop = self._stop or why
        self._changed.set()

    def interrupt(self) -> None:
        """Stop; a second time also gives up the calls under way."""
        if self._asked_to_stop:
            for task in self._tasks:
                task.cancel()
        self._asked_to_stop = True
        self.stop(Interrupted(_STOPPED))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _start_some(self) -> float | None:
        """Make all calls that may be made now; returns the seconds until the next one may, None if a reply decides."""
        now = self._now()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        wait = self._later[0][0] - now if self._later else None
        while self._ready:
            job = self._ready[0]
            endpoint, until = choose(self.endpoints, job.tokens, now)
            if endpoint is None:
                return until if wait is None else wait if until is None else min(wait, until)
            if self.budget is not None and not self.budget.reserve(*job.most):
                if not self._tasks:
                    self.stop(Interrupted(self.budget.exhausted()))
                return None
            self._ready.popleft()
            endpoint.start(job.tokens, now)
            task = asyncio.ensure_future(self._call(job, endpoint))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return wait

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    def _save_some(self) -> None:
        """Commit outcomes beside the calls. A call counts as under way until then, so that a crash repeats no more."""
        if self._unsaved and self._saving is None:
            self._saving = asyncio.ensure_future(self._save())

    async def _save(self) -> None:
        places, self._unsaved = self._unsaved, []
        try:
            if self._commit is not None:
                await asyncio.to_thread(self._commit)
        except Exception as error:
            self.stop(error)
        for endpoint in places:
            endpoint.in_flight -= 1
        self._saving = None
        self._changed.set()

    async def _news(self, wait: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._changed.wait()
        self._changed.clear()

    async def _drain(self) -> None:
        if self._tasks:
            self._say(f"waiting for {len(self._tasks)} calls under way")
            _, late = await asyncio.wait(self._tasks, timeout=self.policy.drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._saving is not None:
            await self._saving

    def _say(self, text: str) -> None:
        if self._notice is not None:
            self._notice(text)

    async def _call(self, job: Job, endpoint: Endpoint) -> None:
        sent, started = self._now(), time.perf_counter()
        answer, fault, billed = None, None, True
        try:
            answer = await self._post(endpoint, job)
            fault = classify(answer.status, answer.headers, answer.text, time.time())
        except Unreached as error:
            fault, billed = Fault("transient", error.reason, error.detail), error.billed
        except Exception as error:
            # It must not vanish in a task that nobody awaits.
            self.stop(error)
        finally:
            self._unsaved.append(endpoint)
            self._settle(job, endpoint, answer, fault, billed)
        job.seconds += time.perf_counter() - started
        try:
            if answer is not None and fault is None:
                self._succeeded(job, endpoint, answer)
            elif fault is not None:
                self._failed(job, endpoint, fault, sent)
        except Exception as error:
            self.stop(error)

    def _settle(self, job: Job, endpoint: Endpoint, answer: Answer | None, fault: Fault | None, billed: bool) -> None:
        """Correct the meters by what the call used; where that is unknown and may be billed, by the most it can be."""
        endpoint.ended(job.tokens, answer.headers if answer is not None else None, self._now())
        found = self._used(answer.text) if answer is not None else None
        if found is not None:
            job.used = [a + b for a, b in zip(job.used, found, strict=True)]
            endpoint.tokens.give(job.tokens - found[0] - found[2])
        if self.budget is not None:
            self.budget.give_back(*job.most)
            if found is not None:
                self.budget.spend(*found)
            elif billed and (fault is None or fault.reason in _MAYBE_BILLED):
                self.budget.spend_unbilled(*job.most)

    def _succeeded(self, job: Job, endpoint: Endpoint, answer: Answer) -> None:
        self._last_good = self._now()
        endpoint.answered()
        endpoint.concurrency.succeeded()
        self._breaker.success()
        job.tries += 1
        self._give(job, self._finish(job, answer.text))

    def _failed(self, job: Job, endpoint: Endpoint, fault: Fault, sent: float) -> None:
        now = self._now()
        if fault.kind == "rate":
            self._refused(job, endpoint, fault, sent, now)
        elif fault.kind == "quota":
            self.stop(Interrupted(f"the account has nothing left ({fault.detail}); then the same command goes on"))
        elif fault.kind == "auth":
            self.stop(PrefineError(f"the server at {endpoint.url} does not accept the key ({fault.detail})"))
        elif fault.kind == "transient":
            self._retry(job, endpoint, fault, now)
        else:
            endpoint.answered()
            job.tries += 1
            self._give_up(job, fault, "failed_permanent")

    def _refused(self, job: Job, endpoint: Endpoint, fault: Fault, sent: float, now: float) -> None:
        """Not counted as a try. The server is left alone as long as it asks, else it gets fewer calls at once."""
        endpoint.answered()
        asked = fault.after or 0.0
        if asked > self.policy.patience or now - self._last_good > self.policy.patience:
            waited = f"asks to wait {asked:.0f} s" if asked else f"has refused for {now - self._last_good:.0f} s"
            self.stop(Interrupted(f"{endpoint.url} {waited} ({fault.detail}); later the same command goes on"))
            return
        if asked:
            endpoint.pause(asked, now)
            self._ready.appendleft(job)
        else:
            job.refusals += 1
            endpoint.concurrency.refused(sent, now)
            self._again(job, backoff(job.refusals, self.policy.backoff, self._draw), now)
        limit = endpoint.concurrency.limit
        self._say(f"rate limit: {f'pause of {asked:.1f} s' if asked else f'{limit} calls at once'}")

    def _retry(self, job: Job, endpoint: Endpoint, fault: Fault, now: float) -> None:
        job.tries += 1
        endpoint.failed(now)
        if job.tries >= self.policy.max_tries:
            self._give_up(job, fault, "failed_retryable")
            return
        wait = max(backoff(job.tries, self.policy.backoff, self._draw), min(fault.after or 0.0, self.policy.patience))
        self._say(f"{fault.reason}: try {job.tries + 1} of {self.policy.max_tries} in {wait:.1f} s")
        self._again(job, wait, now)

    def _again(self, job: Job, wait: float, now: float) -> None:
        heapq.heappush(self._later, (now + wait, job.index, job))

    def _give_up(self, job: Job, fault: Fault, status: Any) -> None:
        self._give(job, Outcome(status, error=fault.error))
        if fault.kind == "content":
            self._breaker.success()
        elif self._breaker.failure(job.index, fault):
            self._break(fault)

    def _break(self, fault: Fault) -> None:
        """Everything fails: the requests are not to blame, so the next run asks them again."""
        for index, known in self._breaker.failed:
            self._deliver(index, Outcome("failed_retryable", error=known.error, tries=0))
        n = len(self._breaker.failed)
        self.stop(PrefineError(f"{n} requests in a row failed, the last one with {fault.error}; mend this first"))

    def _give(self, job: Job, outcome: Outcome) -> None:
        outcome.tries, outcome.seconds = max(1, job.tries), job.seconds
        outcome.prompt_tokens, outcome.cached_tokens, outcome.completion_tokens = job.used
        self._deliver(job.index, outcome)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C stop in order; another one also gives up the calls under way."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, names = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        old = {s: signal.getsignal(s) for s in names}
        for s in names:
            loop.add_signal_handler(s, self.interrupt)
        try:
            yield
        finally:
            for s in names:
                loop.remove_signal_handler(s)
                signal.signal(s, old[s])
