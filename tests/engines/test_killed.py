"""A client that is killed again and again ends with what an undisturbed one has, and repeats little."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from prefine.engines.session import Session
from prefine.errors import EXIT_INTERRUPTED
from prefine.ledger import Ledger
from tests.engines import asking
from tests.engines.fault_server import FaultServer

KILLS, CONCURRENCY, N = 20, 8, 1200


@pytest.fixture(scope="module")
def start():
    """Starts a client in a process that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.engines.asking", "httpx2", "sqlite3"])

    def begin(server, path, n):
        child = context.Process(target=asking.ask_all, args=(server.url, path, n, CONCURRENCY))
        child.start()
        return child

    return begin


def replies(path):
    with Ledger(path) as ledger:
        return {row.key: (row.result.status, row.result.raw) for row in ledger.rows()}


def wait_for_calls(server, n, child):
    """Until the server got `n` more calls; False when the client ended before."""
    wanted = sum(server.calls.values()) + n
    while sum(server.calls.values()) < wanted:
        if not child.is_alive():
            return False
        time.sleep(0.002)
    return True


@pytest.mark.acceptance(name="ledger_killed")
def test_twenty_kills_at_random_instants(start, tmp_path):
    with FaultServer(latency=0.005) as quiet:
        undisturbed = start(quiet, tmp_path / "undisturbed.sqlite", N)
        undisturbed.join()
    draw, path = random.Random(7), tmp_path / "killed.sqlite"
    with FaultServer(latency=0.005) as server:
        for kill in range(KILLS):
            child = start(server, path, N)
            # A few are killed before or at their first calls, the others anywhere within the next sixty.
            assert wait_for_calls(server, draw.choice([0, 1, draw.randrange(1, 60)]), child), kill
            time.sleep(draw.random() * 0.03)
            child.kill()
            child.join()
            assert child.exitcode == -signal.SIGKILL
        before = sum(server.calls.values())
        assert before < N + KILLS * CONCURRENCY
        last = start(server, path, N)
        last.join()
        assert last.exitcode == 0
        repeated = sum(server.calls.values()) - N
    assert len(server.calls) == N and 0 <= repeated <= KILLS * CONCURRENCY
    found = replies(path)
    assert found == replies(tmp_path / "undisturbed.sqlite")
    assert len(found) == N and {status for status, _ in found.values()} == {"ok"}


@pytest.mark.acceptance(name="ledger_killed")
def test_a_stop_by_signal_repeats_nothing(start, tmp_path):
    path = tmp_path / "ledger.sqlite"
    with FaultServer(latency=0.02) as server:
        for name in (signal.SIGTERM, signal.SIGINT):
            child = start(server, path, 300)
            assert wait_for_calls(server, 40, child)
            os.kill(child.pid, name)
            child.join()
            assert child.exitcode == EXIT_INTERRUPTED
        assert len(server.calls) < 300
        session = Session(asking.engine(server), Ledger(path))
        session.ask(asking.requests(300))
        session.close()
    assert set(server.calls.values()) == {1} and len(server.calls) == 300
