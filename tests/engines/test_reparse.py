"""Replies read anew, without a call."""

import json

import pytest

from prefine.engines.base import Request, Sampling
from prefine.engines.reparse import reparse, request_of
from prefine.engines.session import Session
from prefine.ledger import Ledger, Result
from tests.engines.asking import engine, requests
from tests.engines.fault_server import FaultServer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def asked_before(path, asked):
    """The number of calls that asking, reading anew and asking again took."""
    with FaultServer() as server:
        session = Session(engine(server), Ledger(path))
        session.ask(asked)
        session.unparsed(asked[1], "no verdict")
        session.close()
        return sum(server.calls.values())


def test_a_reply_without_sense_becomes_one_to_be_read_again(path):
    asked = requests(3)
    assert asked_before(path, asked) == 3
    with Ledger(path) as ledger:
        assert reparse(ledger) == {"read": 3, "changed": {"parse_error -> ok": 1}}
        assert reparse(ledger) == {"read": 3, "changed": {}}
    offline = Session(engine("http://127.0.0.1:9/v1"), Ledger(path))
    assert offline.ask(asked)[1].text.startswith("reply to question 1")
    offline.close()


def test_statuses_are_corrected_by_what_the_bodies_say(path):
    asked = requests(4)
    filtered = {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}
    good = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}
    with Ledger(path) as ledger:
        stored = {r.tag or r.messages[0]["content"]: vars(r) | {"sampling": vars(r.sampling)} for r in asked}
        ledger.take(stored, "openai", {"model": "toy"})
        keys = list(stored)
        ledger.record(keys[0], Result("ok", raw=json.dumps(filtered)))
        ledger.record(keys[1], Result("failed_permanent", "unreadable_reply: old", raw=json.dumps(good)))
        ledger.record(keys[2], Result("ok", raw="{"))
        ledger.record(keys[3], Result("failed_retryable", "http_500: oh"))
        assert reparse(ledger)["changed"] == {
            "failed_permanent -> ok": 1,
            "ok -> failed_permanent": 1,
            "ok -> parse_error": 1,
        }
        found = ledger.look(keys)
    assert [found[k].status for k in keys] == ["failed_permanent", "ok", "parse_error", "failed_retryable"]
    assert found[keys[0]].error == "content_filter: the server held the reply back" and found[keys[1]].error == ""


def test_the_stored_request_is_the_one_that_was_asked(path):
    message = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"})
    full = Request((*message, *message[:1]), Sampling(0.5, 0.9, 3, 7, ("a", "b"), 4, 2), "purpose", "tag", "response")
    with Ledger(path) as ledger:
        ledger.take({"k": vars(full) | {"sampling": vars(full.sampling)}}, "openai", {"model": "toy"})
        (row,) = ledger.rows()
    assert request_of(row) == full and request_of(row).key({"model": "toy"}) == full.key({"model": "toy"})
