"""Requests for tests, and clients that can be run in a process of their own."""

import sys
import time

from prefine.engines.base import Outcome, Request, Sampling
from prefine.engines.openai import OpenAIEngine
from prefine.engines.session import Session
from prefine.errors import Interrupted
from prefine.ledger import Ledger
from tests.engines.scripted import Scripted


def requests(n, *, max_tokens=8, **more):
    """`n` different requests."""
    sampling = Sampling(max_tokens=max_tokens, **more)
    return [Request(({"role": "user", "content": f"question {i}"},), sampling, "test") for i in range(n)]


def engine(server, **more):
    """An engine that is quick to give up and to try again."""
    urls = server if isinstance(server, (str, list)) else server.url
    settings = {"timeout": 5.0, "min_tokens_per_second": 100.0, "backoff": 0.02, "max_concurrency": 8, **more}
    return OpenAIEngine("toy", urls, **settings)


def ask_all(url, path, n, concurrency):
    """A whole run of a client: ask, and close."""
    session = Session(engine(url, max_concurrency=concurrency), Ledger(path))
    try:
        session.ask(requests(n))
    except Interrupted as error:
        sys.exit(error.exit_code)
    finally:
        session.close()


def take_and_wait(path, n, ready):
    """Take requests and answer none, until killed."""
    ledger = Ledger(path)
    taken = ledger.take({f"key {i}": {"purpose": "test"} for i in range(n)}, "scripted", {"model": "m"})
    ready.put(len(taken))
    time.sleep(60)


def ask_scripted(path, n, counts, who):
    """Ask what others ask at the same time; puts the keys sent on `counts`."""

    def answer(request):
        time.sleep(0.002)
        return request.messages[0]["content"].upper()

    scripted = Scripted(answer)
    session = Session(scripted, Ledger(path))
    replies = session.ask(requests(n))
    session.close()
    counts.put((who, dict(scripted.calls), [r.text for r in replies], session.facts()))


def failing(reason, status="failed_retryable"):
    """An outcome without a reply."""
    return Outcome(status, error=f"{reason}: details")
