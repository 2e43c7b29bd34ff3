"""The ledger: what is recorded, when it is on the disk, and who may answer what."""

import multiprocessing
import os
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.ledger import BATCH, Ledger, Result
from prefine.ledger_rows import pack, unpack
from tests.engines import asking

ME = {"model": "m"}


def some(*keys):
    return {k: {"purpose": "test", "text": k} for k in keys}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    with Ledger(path) as opened:
        yield opened


def on_disk(path, column="status"):
    """What another process sees."""
    with sqlite3.connect(path) as db:
        found = dict(db.execute(f"SELECT key, {column} FROM requests"))
    db.close()
    return found


@given(st.text())
def test_packed_text_comes_back(text):
    assert unpack(pack(text)) == text


def test_a_lone_surrogate_comes_back_and_long_text_gets_short():
    assert unpack(pack("a\ud800b")) == "a\ud800b"
    assert len(pack("again " * 1000)) < 100


def test_the_file_survives_what_sqlite_promises_to_survive(ledger, path):
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_request_goes_from_taken_to_answered(ledger, path):
    assert ledger.take(some("a", "b"), "scripted", ME) == {"a", "b"}
    assert on_disk(path) == {"a": "inflight", "b": "inflight"}
    ledger.record("a", Result("ok", raw="the body", tries=2, prompt_tokens=3))
    assert ledger.look(["a", "b", "c"]) == {
        "a": Result("ok", raw="the body", tries=2, prompt_tokens=3),
        "b": Result("inflight"),
    }
    ledger.release()
    assert on_disk(path) == {"a": "ok", "b": "pending"}


def test_the_request_is_stored_before_it_is_answered(ledger):
    ledger.take(some("a"), "scripted", ME)
    (row,) = ledger.rows("inflight")
    assert (row.key, row.engine, row.identity, row.purpose) == ("a", "scripted", ME, "test")
    assert row.request == {"purpose": "test", "text": "a"}


def test_an_answer_never_changes(ledger):
    ledger.take(some("a"), "scripted", ME)
    ledger.record("a", Result("ok", raw="first", tries=1))
    ledger.record("a", Result("ok", raw="second", tries=1))
    ledger.record("a", Result("failed_retryable", "late", tries=1))
    assert ledger.look(["a"])["a"] == Result("ok", raw="first", tries=1)
    assert ledger.take(some("a"), "scripted", ME) == set()


@pytest.mark.parametrize(
    ("status", "taken"),
    [("ok", False), ("parse_error", False), ("failed_permanent", False), ("failed_retryable", True)],
)
def test_only_failures_that_may_go_away_are_taken_again(ledger, status, taken):
    ledger.take(some("a"), "scripted", ME)
    ledger.record("a", Result(status, raw="body"))
    ledger.flush()
    assert ledger.take(some("a"), "scripted", ME) == ({"a"} if taken else set())


def test_what_was_billed_is_added_up_over_tries(ledger):
    for status, tokens, cost in (("failed_retryable", 10, 0.5), ("failed_retryable", 0, None), ("ok", 20, 0.25)):
        ledger.take(some("a"), "scripted", ME)
        used = Result(status, raw="x", tries=2, prompt_tokens=tokens, cached_tokens=1, completion_tokens=4)
        used.cost_usd = cost
        ledger.record("a", used)
        ledger.flush()
    found = ledger.look(["a"])["a"]
    assert (found.tries, found.prompt_tokens, found.completion_tokens, found.cost_usd) == (6, 30, 12, 0.75)
    assert ledger.spent(ME) == (30, 3, 12) and ledger.spent({"model": "other"}) == (0, 0, 0)


def test_results_are_committed_in_batches(ledger, path):
    keys = [f"k{i}" for i in range(BATCH)]
    ledger.take(some(*keys), "scripted", ME)
    for key in keys[:-1]:
        ledger.record(key, Result("ok", raw="x"))
    before = set(on_disk(path).values())
    ledger.record(keys[-1], Result("ok", raw="x"))
    assert set(on_disk(path).values()) == {"ok"}
    assert before == {"inflight"}


def test_a_result_does_not_wait_long_for_its_batch(ledger, path):
    ledger.take(some("a"), "scripted", ME)
    ledger.record("a", Result("ok", raw="x"))
    deadline = time.monotonic() + 30
    while on_disk(path)["a"] != "ok":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_could_not_be_written_is_written_later(ledger, path):
    ledger.take(some("a"), "scripted", ME)
    ledger._stop.set()  # the thread that commits by itself
    ledger._heart.join()
    ledger._db.execute("CREATE TRIGGER full BEFORE UPDATE ON requests BEGIN SELECT RAISE(ABORT, 'full'); END")
    ledger.record("a", Result("ok", raw="x"))
    with pytest.raises(sqlite3.Error, match="full"):
        ledger.flush()
    ledger._db.execute("DROP TRIGGER full")
    ledger.flush()
    assert on_disk(path) == {"a": "ok"}


def test_two_processes_do_not_answer_the_same(path):
    with Ledger(path) as first, Ledger(path) as second:
        assert first.take(some("a", "b"), "scripted", ME) == {"a", "b"}
        assert second.take(some("b", "c"), "scripted", ME) == {"c"}
        first.record("b", Result("ok", raw="x"))
        first.release()
        assert second.take(some("a", "b"), "scripted", ME) == {"a"}


def test_what_a_dead_process_had_taken_is_free_at_once(path):
    context = multiprocessing.get_context("forkserver")
    ready = context.Queue()
    child = context.Process(target=asking.take_and_wait, args=(path, 5, ready))
    child.start()
    assert ready.get(timeout=60) == 5
    keys = [f"key {i}" for i in range(5)]
    with Ledger(path) as ledger:
        assert ledger.take(some(*keys), "scripted", ME) == set()
        child.kill()
        child.join()
        assert ledger.take(some(*keys), "scripted", ME) == set(keys)


def test_a_process_of_another_machine_counts_as_dead_after_its_lease(path):
    now = [1000.0]
    with Ledger(path, clock=lambda: now[0]) as first, Ledger(path, clock=lambda: now[0]) as second:
        first.take(some("a"), "scripted", ME)
        first._db.execute("UPDATE workers SET host='elsewhere', pid=1")
        now[0] = 1059.0
        assert second.take(some("a"), "scripted", ME) == set()
        now[0] = 1061.0
        assert second.take(some("a"), "scripted", ME) == {"a"}


def test_a_process_keeps_its_lease_while_it_lives(path, monkeypatch):
    monkeypatch.setattr("prefine.ledger.LEASE", 1.2)
    with Ledger(path) as first, Ledger(path) as second:
        first.take(some("a"), "scripted", ME)
        first._db.execute("UPDATE workers SET host='elsewhere'")
        time.sleep(2.5)
        assert second.take(some("a"), "scripted", ME) == set()


def test_several_processes_answer_each_request_once(path):
    context = multiprocessing.get_context("forkserver")
    counts = context.Queue()
    clients = [context.Process(target=asking.ask_scripted, args=(path, 300, counts, i)) for i in range(3)]
    for client in clients:
        client.start()
    found = [counts.get(timeout=100) for _ in clients]
    for client in clients:
        client.join()
    calls = [key for _, sent, _, _ in found for key, n in sent.items() for _ in range(n)]
    assert len(calls) == len(set(calls)) == 300
    assert all(texts == [f"QUESTION {i}" for i in range(300)] for _, _, texts, _ in found)
    assert all(f["requests"] == f["answered"] + f["from_ledger"] == 300 for *_, f in found)
    assert set(on_disk(path).values()) == {"ok"}


def test_marks_keep_the_reply(ledger):
    ledger.take(some("a", "b"), "scripted", ME)
    ledger.record("a", Result("ok", raw="body"))
    ledger.mark({"a": "no number in it", "b": "was not answered"}, "parse_error")
    assert ledger.look(["a", "b"]) == {
        "a": Result("parse_error", "no number in it", "body"),
        "b": Result("inflight"),
    }
    with pytest.raises(ValueError, match="did you mean 'parse_error'"):
        ledger.mark({"a": ""}, "parse_eror")


def test_failures_are_asked_again_when_told(ledger):
    ledger.take(some("a", "b", "c", "d"), "scripted", ME)
    for key, status in zip("abcd", ("ok", "failed_permanent", "failed_retryable", "parse_error"), strict=True):
        ledger.record(key, Result(status, raw="x"))
    assert ledger.retry("failed_permanent", "failed_retryable") == 2
    assert ledger.take(some("a", "b", "c", "d"), "scripted", ME) == {"b", "c"}


def test_rows_come_in_the_order_of_keys_by_status(ledger):
    keys = [f"{i:04d}" for i in range(1203)]
    ledger.take(some(*reversed(keys)), "scripted", ME)
    for key in keys[::2]:
        ledger.record(key, Result("ok", raw=key))
    assert [r.key for r in ledger.rows()] == keys
    assert [(r.key, r.result.raw) for r in ledger.rows("ok")] == [(k, k) for k in keys[::2]]


def test_stats_add_up_by_purpose_status_and_reason(ledger):
    ledger.take(some("a", "b", "c"), "scripted", ME)
    ledger.record("a", Result("ok", raw="x", tries=1, prompt_tokens=5, cost_usd=0.5))
    ledger.record("b", Result("failed_permanent", "content_filter: held back", tries=2))
    ledger.record("c", Result("failed_permanent", "content_filter: another", tries=1, prompt_tokens=3))
    rows = [(r["status"], r["reason"], r["requests"], r["tries"], r["prompt_tokens"]) for r in ledger.stats()]
    assert rows == [("failed_permanent", "content_filter", 2, 3, 3), ("ok", "", 1, 1, 5)]
    assert {r["purpose"] for r in ledger.stats()} == {"test"} and ledger.stats()[1]["cost_usd"] == 0.5


def test_a_mean_needs_enough_replies(ledger):
    keys = [f"k{i}" for i in range(20)]
    ledger.take(some(*keys), "scripted", ME)
    for i, key in enumerate(keys):
        assert ledger.mean_completion(ME, "test") is None
        ledger.record(key, Result("ok", raw="x", completion_tokens=i + 1))
    assert ledger.mean_completion(ME, "test") == 10.5
    assert ledger.mean_completion(ME, "another purpose") is None


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text("not a database, but long enough to be read as one " * 100)
    with pytest.raises(PrefineError, match=r"ledger\.sqlite is not a ledger"):
        Ledger(path)


def test_a_newer_file_is_refused(path):
    with Ledger(path) as ledger:
        ledger._db.execute("PRAGMA user_version=99")
    with pytest.raises(PrefineError, match="newer prefine"):
        Ledger(path)


def test_closing_twice_is_harmless_and_leaves_one_file(path):
    ledger = Ledger(path)
    ledger.take(some("a"), "scripted", ME)
    ledger.close()
    ledger.close()
    assert os.listdir(path.parent) == ["ledger.sqlite"] and on_disk(path) == {"a": "pending"}
