"""Asking through the ledger: order, sharing, failures, counts."""

import pytest

from prefine.engines.base import Engine, Outcome, Reply, Request, Sampling
from prefine.engines.cost import Budget, Price
from prefine.engines.session import Session, open_session
from prefine.errors import Interrupted, PrefineError
from prefine.ledger import Ledger
from prefine.recipe import Data, Model, Recipe
from tests.engines.asking import failing, requests
from tests.engines.scripted import Scripted


def upper(request):
    return request.messages[0]["content"].upper()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def opened(path):
    """Opens sessions on one ledger file, each after the one before is closed."""
    sessions = []

    def make(answer=upper, **more):
        if sessions:
            sessions[-1].close()
        sessions.append(Session(answer if isinstance(answer, Engine) else Scripted(answer), Ledger(path), **more))
        return sessions[-1]

    yield make
    if sessions:
        sessions[-1].close()


def balanced(facts):
    return facts["requests"] == facts["answered"] + facts["from_ledger"] + sum(facts["failed"].values())


def test_replies_come_in_the_order_of_the_requests(opened):
    session = opened()
    asked = requests(100)
    asked = asked[::-1] + asked[10:20]
    assert [r.text for r in session.ask(asked)] == [upper(r) for r in asked]


def test_equal_requests_are_sent_once_and_those_with_a_tag_each(opened):
    session = opened()
    (plain,) = requests(1)
    tagged = [Request(plain.messages, plain.sampling, plain.purpose, tag=f"{i}") for i in range(3)]
    session.ask([plain, plain, *tagged, plain])
    assert sorted(session.engine.calls.values()) == [1, 1, 1, 1]
    assert session.facts()["answered"] == 4 and session.facts()["from_ledger"] == 2


def test_what_was_answered_is_not_asked_again_whatever_the_order(opened):
    opened().ask(requests(50))
    session = opened()
    asked = requests(80)[::-1]
    assert [r.text for r in session.ask(asked)] == [upper(r) for r in asked]
    assert sum(session.engine.calls.values()) == 30
    assert session.facts()["from_ledger"] == 50 and balanced(session.facts())


@pytest.mark.parametrize("change", ["model", "sampling", "purpose", "messages", "response"])
def test_whatever_the_reply_depends_on_is_asked_anew(opened, change):
    (first,) = requests(1)
    opened().ask([first])
    other = {
        "model": first,
        "sampling": Request(first.messages, Sampling(max_tokens=9), first.purpose),
        "purpose": Request(first.messages, first.sampling, "another"),
        "messages": Request(({"role": "user", "content": "else"},), first.sampling, first.purpose),
        "response": Request(first.messages, first.sampling, first.purpose, response="given"),
    }[change]
    session = opened(Scripted(upper, model="other" if change == "model" else "scripted"))
    session.ask([other])
    assert sum(session.engine.calls.values()) == 1


def test_a_failure_is_a_reply_and_touches_no_neighbor(opened):
    def answer(request):
        return failing("content_filter", "failed_permanent") if "3" in upper(request) else upper(request)

    session = opened(answer)
    asked = requests(10)
    replies = session.ask(asked)
    assert [r.text for i, r in enumerate(replies) if i != 3] == [upper(a) for i, a in enumerate(asked) if i != 3]
    assert (replies[3].ok, replies[3].status) == (False, "failed_permanent")
    assert replies[3].error == "content_filter: details"
    assert session.facts()["failed"] == {"content_filter": 1} and balanced(session.facts())


def test_what_may_go_away_is_tried_again_so_many_times(opened):
    session = opened(lambda r: failing("timeout"), max_tries=3)
    (reply,) = session.ask(requests(1))
    assert reply.status == "failed_retryable" and session.facts()["calls"] == 3
    session.ask(requests(1))
    assert session.facts()["calls"] == 3, "not again in the same session"


def test_the_next_session_asks_again_what_may_have_gone_away_and_nothing_else(opened):
    def answer(request):
        kind = {"1": failing("timeout"), "2": failing("context_length", "failed_permanent")}
        return kind.get(upper(request)[-1]) or upper(request)

    first = opened(answer)
    first.ask(requests(5))
    assert first.facts()["failed"] == {"context_length": 1, "timeout": 1}
    second = opened()
    replies = second.ask(requests(5))
    assert sum(second.engine.calls.values()) == 1 and replies[1].text == "QUESTION 1"
    assert replies[2].error == "context_length: details"
    assert second.facts()["failed"] == {"context_length": 1} and balanced(second.facts())


def test_what_a_stop_leaves_is_asked_by_the_next_session(opened):
    class Stopping(Scripted):
        def send(self, requests, deliver):
            super().send(requests[:7], deliver)
            raise Interrupted("stop")

    stopped = opened(Stopping(upper))
    with pytest.raises(Interrupted):
        stopped.ask(requests(20))
    assert {r.status for r in stopped.ledger.look(k.key(stopped.identity) for k in requests(20)).values()} == {
        "ok",
        "pending",
    }
    session = opened()
    assert [r.text for r in session.ask(requests(20))] == [upper(r) for r in requests(20)]
    assert sum(session.engine.calls.values()) == 13


def test_a_keyboard_interrupt_loses_nothing_that_was_delivered(opened):
    class Interrupting(Scripted):
        def send(self, requests, deliver):
            super().send(requests[:3], deliver)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(Interrupting(upper)).ask(requests(5))
    assert opened().ask(requests(5))[0].text == "QUESTION 0"
    session = opened()
    session.ask(requests(5))
    assert not session.engine.calls


def test_a_request_that_the_engine_forgets_is_a_failure(opened):
    class Forgetful(Scripted):
        def send(self, requests, deliver):
            super().send(requests[:-1], deliver)

    session = opened(Forgetful(upper), max_tries=1)
    assert session.ask(requests(3))[2].error.startswith("not_delivered")


def test_a_reply_without_sense_is_kept_and_read_again_by_the_next_session(opened, path):
    first = opened()
    asked = requests(3)
    first.ask(asked)
    first.unparsed(asked[1], "no number")
    assert first.facts()["unparsed"] == 1 and balanced(first.facts())
    key = asked[1].key(first.identity)
    assert first.ledger.look([key])[key].status == "parse_error"
    assert first.ledger.look([key])[key].error == "no number"
    second = opened()
    assert second.ask(asked)[1].text == "QUESTION 1" and not second.engine.calls
    assert second.ledger.look([key])[key].status == "ok"


def test_a_body_that_cannot_be_read_fails_alone(opened):
    class Odd(Scripted):
        def read(self, request, raw):
            if "1" in upper(request):
                raise KeyError("choices")
            return super().read(request, raw)

    session = opened(Odd(upper))
    replies = session.ask(requests(3))
    assert [r.ok for r in replies] == [True, False, True]
    assert replies[1].error.startswith("unreadable_reply: KeyError") and session.facts()["unparsed"] == 1
    assert opened().ask(requests(3))[1].text == "QUESTION 1", "a better reader can read it"


def test_steps_count_every_request_once(opened):
    def answer(request):
        return failing("timeout") if "2" in upper(request) else upper(request)

    for expected in (30, 30):
        steps = []
        asked = requests(20) + requests(10)
        opened(answer).ask(asked, lambda n=1, note=None, steps=steps: steps.append(n))
        assert sum(steps) == expected


def test_tokens_and_cost_are_those_of_the_calls_made(opened):
    def answer(request):
        raw = '{"text": "x", "finish_reason": "stop"}'
        return Outcome(raw=raw, prompt_tokens=100, cached_tokens=40, completion_tokens=10)

    price = Price(input=1.0, output=2.0, cached_input=0.5)
    # (60 * 1 + 40 * 0.5 + 10 * 2) / 1e6 dollars a call
    session = opened(answer, budget=Budget(price=price))
    session.ask(requests(3) + requests(3))
    assert session.facts()["cost_usd"] == pytest.approx(3e-4)
    assert session.facts()["prompt_tokens"] == 300 and session.facts()["cached_tokens"] == 120
    again = opened(answer, budget=Budget(price=price))
    again.ask(requests(3))
    assert again.facts()["cost_usd"] == 0.0 and again.facts()["prompt_tokens"] == 0
    assert again.budget.spent_usd == pytest.approx(3e-4)


def test_a_budget_stops_engines_that_have_no_meter(opened):
    def answer(request):
        return Outcome(raw='{"text": "x"}', prompt_tokens=20, completion_tokens=2)

    # "question 10" may take 64 + 11 + 16 + 16 tokens at most, and 8 of reply: 115.
    session = opened(answer, budget=Budget(tokens=400))
    with pytest.raises(Interrupted, match="budget is used up"):
        session.ask(requests(100))
    assert session.budget.spent_tokens <= 400
    # Sent while 115 are left: after 12 calls 264 are spent and 136 are left, after 13 only 114.
    assert session.facts()["calls"] == 13
    more = opened(answer, budget=Budget(tokens=100_000))
    assert len(more.ask(requests(100))) == 100 and more.facts()["calls"] == 87


def test_an_estimate_makes_no_call(opened):
    session = opened(budget=Budget(price=Price(input=1e6, output=1e6, cached_input=0)))
    session.ask(requests(2))
    before = sum(session.engine.calls.values())
    found = session.estimate(requests(5) + requests(1))
    # 10 characters each: 3 tokens and 4 for the frame; 8 tokens of reply at most.
    assert (found.requests, found.from_ledger, found.calls, found.prompt_tokens) == (6, 3, 3, 21)
    assert found.completion_tokens == found.most_completion_tokens == 24 and found.approximate
    assert found.usd == pytest.approx(45.0) and "about 21 prompt tokens" in str(found)
    assert session.estimate(requests(5), lambda messages: 100).prompt_tokens == 300
    assert not session.estimate(requests(5), lambda messages: 100).approximate
    assert sum(session.engine.calls.values()) == before


def test_an_estimate_expects_replies_as_long_as_earlier_ones(opened):
    session = opened(lambda r: Outcome(raw='{"text": "x"}', completion_tokens=3))
    session.ask(requests(25))
    found = session.estimate(requests(35))
    assert (found.completion_tokens, found.most_completion_tokens) == (30, 80)


def recipe(tmp_path):
    return Recipe(name="r", model=Model(path="m"), data=Data(path="d"), output_dir=str(tmp_path))


def test_a_session_of_a_recipe_keeps_its_ledger_in_the_run(tmp_path):
    session = open_session({"name": "tests.engines.test_session:Echo", "model": "e"}, recipe(tmp_path))
    assert session.ask(requests(1))[0].text == "question 0"
    session.close()
    assert (tmp_path / "r" / "ledger.sqlite").exists()


def test_a_block_that_names_no_engine_is_an_error(tmp_path):
    with pytest.raises(PrefineError, match="unknown engine 'opena'; did you mean 'openai'"):
        open_session({"name": "opena"}, recipe(tmp_path))
    with pytest.raises(PrefineError, match="does not derive"):
        open_session({"name": "tests.engines.test_session:NoEngine"}, recipe(tmp_path))


class Echo(Engine):
    """Says what it hears."""

    def __init__(self, model: str) -> None:
        self.model = model

    def identity(self):
        return {"model": self.model}

    def send(self, requests, deliver):
        for i, r in enumerate(requests):
            deliver(i, Outcome(raw=r.messages[-1]["content"]))

    def read(self, request, raw):
        return Reply(raw)


class NoEngine:
    """Something else."""


class Batched(Scripted):
    """Computes three at a time, and dies within a batch where the script says so."""

    def batches(self, requests):
        return [list(range(i, min(i + 3, len(requests)))) for i in range(0, len(requests), 3)]


def test_a_batch_is_recorded_whole_or_not_at_all(tmp_path):
    sent = []

    def answer(request):
        sent.append(request.messages[0]["content"])
        if len(sent) == 5:
            raise PrefineError("the machine is gone")
        return "yes"

    requests = [Request(({"role": "user", "content": str(i)},)) for i in range(8)]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(PrefineError, match="the machine is gone"):
            Session(Batched(answer), ledger).ask(requests)
        assert len(list(ledger.rows("ok"))) == 3
        assert all(r.ok for r in Session(Batched(answer), ledger).ask(requests))
    assert sent == ["0", "1", "2", "3", "4", "3", "4", "5", "6", "7"], "the batches are those of the first time"
