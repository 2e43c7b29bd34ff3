"""Asking a model through the ledger: what was answered before is not asked again, and replies are kept as they came."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from prefine.engines.base import Engine, Outcome, Reply, Request
from prefine.engines.cost import Budget, CountTokens, Estimate, approximate_tokens, most_tokens
from prefine.errors import Interrupted, PrefineError
from prefine.ledger import BATCH, Ledger, Result
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import engines
from prefine.unanswered import note

ANSWERED = ("ok", "parse_error", "failed_permanent")
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError)
"""What reading a body of another shape raises."""
POLL = 0.2
"""Seconds between two looks at requests that another process is answering."""
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


class Session:
    """One engine and one ledger. A request that failed is not asked again in the same session, but in the next.

    `max_tries` bounds how often a request is sent that fails in a way that may go away. `budget` stops before it is
    exceeded; what the ledger says this model has used counts. An engine with a method `attach(budget, notice, commit)`
    meters itself, call by call.
    """

    def __init__(self, engine: Engine, ledger: Ledger, *, max_tries: int = 3, budget: Budget | None = None) -> None:
        self.engine, self.ledger, self.max_tries = engine, ledger, max_tries
        self.budget = budget or getattr(engine, "budget", None) or Budget()
        self._attach: Callable[..., None] | None = getattr(engine, "attach", None)
        self.identity = engine.identity()
        self._name = getattr(type(engine), "component_name", "") or f"{type(engine).__module__}:{type(engine).__name__}"
        self._failed: set[str] = set()
        self._unparsed: set[str] = set()
        self._marks: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._cost = 0.0

    def ask(self, requests: Sequence[Request], step: Step | None = None) -> list[Reply]:
        """Replies in the order of `requests`. `step` counts requests as they are answered.

        Equal requests are sent once. Failures are replies with a status; an error is raised only when going on is
        pointless, and everything answered until then is kept.
        """
        self._mark()
        keys = [r.key(self.identity) for r in requests]
        wanted = dict(zip(keys, requests, strict=True))
        known = self.ledger.look(wanted)
        todo = {k: r for k, r in wanted.items() if self._open(k, known.get(k))}
        meter = _Meter(step, Counter(keys))
        meter.done(k for k in wanted if k not in todo)
        if self._attach is not None:
            self._attach(self.budget, meter.note, self.ledger.flush)
        if self.budget.limited or self.budget.price is not None:
            self.budget.start(*self.ledger.spent(self.identity))
        sent = self._answer(todo, meter)
        found = self.ledger.look(wanted) if todo else known
        again = {k: "" for k in wanted if found[k].status == "parse_error"}
        if again:
            self.ledger.mark(again, "ok")
        return self._replies(requests, keys, found, sent)

    def unparsed(self, request: Request, reason: str = "") -> None:
        """Tell that the reply to `request` could not be made sense of; it is kept, and can be read anew."""
        key = request.key(self.identity)
        self._unparsed.add(key)
        self._marks[key] = reason
        if len(self._marks) >= BATCH:
            self._mark()

    def facts(self) -> dict[str, Any]:
        """What was asked and what it took: requests = answered + failed (by reason) + from_ledger.

        `cost_usd` is None without prices. Tokens and cost are those of this session's calls.
        """
        self._mark()
        counts = {name: self._counts[name] for name in ("requests", "answered", "from_ledger", "calls", *_TOKENS)}
        cost = None if self.budget.price is None else round(self._cost, 8)
        failed = dict(sorted(self._reasons.items()))
        return {**counts, "failed": failed, "unparsed": len(self._unparsed), "cost_usd": cost}

    def estimate(self, requests: Sequence[Request], count_tokens: CountTokens | None = None) -> Estimate:
        """What asking `requests` would take, without a call. `count_tokens` counts a conversation's prompt tokens."""
        wanted = {r.key(self.identity): r for r in requests}
        known = self.ledger.look(wanted)
        todo = [r for k, r in wanted.items() if self._open(k, known.get(k))]
        counted = sum((count_tokens or approximate_tokens)(r.messages) for r in todo)
        most = [most_tokens(r)[1] for r in todo]
        means = {p: self.ledger.mean_completion(self.identity, p) for p in {r.purpose for r in todo}}
        expected = sum(
            m if (mean := means[r.purpose]) is None else min(mean, m) for r, m in zip(todo, most, strict=True)
        )
        replies = round(expected)
        return Estimate(
            len(requests),
            len(requests) - len(todo),
            len(todo),
            counted,
            replies,
            sum(most),
            count_tokens is None,
            self.budget.cost(counted, 0, replies),
            self.budget.cost(counted, 0, sum(most)),
        )

    def close(self) -> None:
        """Close the engine and the ledger."""
        try:
            self._mark()
            self.engine.close()
        finally:
            self.ledger.close()

    def _mark(self) -> None:
        if self._marks:
            self.ledger.mark(self._marks, "parse_error")
            note(dict.fromkeys(self._marks, "parse_error"))
            self._marks = {}

    def _open(self, key: str, known: Result | None) -> bool:
        """Whether the request is still to be answered."""
        return key not in self._failed and (known is None or known.status not in ANSWERED)

    def _answer(self, todo: dict[str, Request], meter: _Meter) -> set[str]:
        """Send what nobody answers, wait for what another process answers; returns the keys that were sent."""
        sent: set[str] = set()
        waiting = todo
        try:
            while waiting:
                mine = self.ledger.take({k: _plain(r) for k, r in waiting.items()}, self._name, self.identity)
                batch = {k: r for k, r in waiting.items() if k in mine}
                self._send(batch, meter)
                sent.update(batch)
                others = self.ledger.look(k for k in waiting if k not in batch)
                waiting = {k: waiting[k] for k, r in others.items() if r.status in ("pending", "inflight")}
                meter.done(k for k in others if k not in waiting)
                if waiting and not batch:
                    time.sleep(POLL)
        finally:
            if todo:
                self.ledger.release()
        return sent

    def _send(self, batch: dict[str, Request], meter: _Meter) -> None:
        """Send, and send again what failed and may not fail again, up to `max_tries` times each."""
        tries: Counter[str] = Counter()
        left = list(batch)
        while left:
            part = left[: self._affordable([batch[k] for k in left])]
            outcomes = self._send_part(part, batch, meter)
            retry = []
            for key in part:
                tries[key] += max(1, outcomes[key].tries)
                if outcomes[key].status == "failed_retryable" and tries[key] < self.max_tries:
                    retry.append(key)
            meter.done(k for k in part if outcomes[k].status == "failed_retryable" and k not in set(retry))
            left = left[len(part) :] + retry

    def _send_part(self, keys: list[str], batch: dict[str, Request], meter: _Meter) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}

        def deliver(i: int, outcome: Outcome) -> None:
            again = keys[i] in outcomes
            outcomes[keys[i]] = outcome
            self._record(keys[i], outcome)
            if not again and outcome.status != "failed_retryable":
                meter.done([keys[i]], self.budget.text() if self.budget.spent_tokens else None)

        requests = [batch[k] for k in keys]
        batches = self.engine.batches(requests)
        if batches is None:
            self.engine.send(requests, deliver)
        for places in batches or []:
            with self.ledger.together():
                self.engine.send([requests[i] for i in places], lambda i, outcome, at=places: deliver(at[i], outcome))
        for key in keys:
            if key not in outcomes:
                outcomes[key] = Outcome("failed_retryable", error="not_delivered: the engine said nothing of it")
                self._record(key, outcomes[key])
        return outcomes

    def _affordable(self, requests: list[Request]) -> int:
        """How many of the first of `requests` can be sent whatever they cost; engines that meter themselves get all."""
        if self._attach is not None or not self.budget.limited:
            return len(requests)
        held = []
        for request in requests:
            if not self.budget.reserve(*most_tokens(request)):
                break
            held.append(request)
        for request in held:
            self.budget.give_back(*most_tokens(request))
        if not held:
            raise Interrupted(self.budget.exhausted())
        return len(held)

    def _record(self, key: str, outcome: Outcome) -> None:
        used = (outcome.prompt_tokens, outcome.cached_tokens, outcome.completion_tokens)
        cost = self.budget.cost(*used)
        if self._attach is None:
            self.budget.spend(*used)
        self._counts.update(dict(zip(_TOKENS, used, strict=True)), calls=outcome.tries)
        self._cost += cost or 0.0
        self.ledger.record(
            key, Result(outcome.status, outcome.error, outcome.raw, outcome.tries, *used, cost, outcome.seconds)
        )

    def _replies(
        self, requests: Sequence[Request], keys: list[str], found: dict[str, Result], sent: set[str]
    ) -> list[Reply]:
        replies: dict[str, Reply] = {}
        for request, key in zip(requests, keys, strict=True):
            first = key not in replies
            if first:
                replies[key] = self._read(request, key, found[key])
            reply = replies[key]
            reply.key = key
            self._counts["requests"] += 1
            if reply.ok:
                self._counts["answered" if key in sent and first else "from_ledger"] += 1
            else:
                self._reasons[reply.error.partition(":")[0] or reply.status] += 1
                self._failed.add(key)
        note({key: reply.status for key, reply in replies.items()})
        return [replies[key] for key in keys]

    def _read(self, request: Request, key: str, result: Result) -> Reply:
        """The reply in a stored body; one that cannot be read is a failure of this request alone."""
        if result.status in ("pending", "inflight"):
            return Reply(status="failed_retryable", error="taken: another process is asking this again")
        if not result.raw or result.status == "failed_retryable":
            return Reply(status=result.status, error=result.error)
        try:
            return self.engine.read(request, result.raw)
        except UNREADABLE as error:
            if result.status == "failed_permanent":
                return Reply(status=result.status, error=result.error)
            self.unparsed(request, f"unreadable_reply: {type(error).__name__} {error}")
            return Reply(status="failed_permanent", error=f"unreadable_reply: {type(error).__name__} {error}")


class _Meter:
    """Counts each key once, for all requests that share it."""

    def __init__(self, step: Step | None, places: Counter[str]) -> None:
        self._step, self._places = step, places

    def done(self, keys: Any, note: str | None = None) -> None:
        n = sum(self._places[k] for k in keys)
        if self._step is not None and n:
            self._step(n, note=note)

    def note(self, text: str) -> None:
        if self._step is not None:
            self._step(0, note=text)


def _plain(request: Request) -> dict[str, Any]:
    """As `asdict`, without its copies."""
    return {**vars(request), "sampling": vars(request.sampling)}


def open_session(block: dict[str, Any], recipe: Recipe) -> Session:
    """The engine of a recipe's block, prepared, with the ledger of the recipe's run; see `rehearsal` for a dry run."""
    from prefine.engines import rehearsal

    engine = engines.build(block)
    if not isinstance(engine, Engine):
        raise PrefineError(f"engine '{block.get('name')}' does not derive from prefine.engines.base.Engine")
    engine.prepare(recipe)
    if rehearsal.rehearsing():
        return rehearsal.Rehearsal(engine, recipe.run_path / "ledger.sqlite")
    return Session(engine, Ledger(recipe.run_path / "ledger.sqlite"), max_tries=getattr(engine, "max_tries", 3))
