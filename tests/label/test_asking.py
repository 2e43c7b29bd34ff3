"""Asking: second tries, failures that stay where they are, keys of all replies."""

import pytest

from prefine.engines.base import Outcome, Reply, Sampling
from prefine.engines.tries import RETRY_TEMPERATURE
from prefine.label.asking import Asker, Question
from prefine.label.templates import Filled
from prefine.label.verdicts import Unread

from .asked import ENGINE, RECIPE


def questions(*texts, tag=""):
    return [Question(Filled(t, "", ()), tag) for t in texts]


def number(question, reply):
    if not reply.text.isdigit():
        raise Unread("parse_error")
    return int(reply.text)


@pytest.fixture
def asker(asked):
    made = Asker(ENGINE, Sampling(max_tokens=9), 2)
    asked.answer = lambda request: "7"
    made.open(RECIPE, "test", "template")
    return made


def test_one_bad_reply_leaves_its_neighbors_alone(asked, asker):
    replies = {
        "a": "1",
        "bad": "words",
        "b": "2",
        "long": Outcome("failed_permanent", error="context_length: 9 tokens"),
        "filtered": Outcome("failed_permanent", error="content_filter: no"),
        "cut": Reply("", "content_filter"),
        "c": "3",
    }
    asked.answer = lambda request: replies[request.messages[0]["content"]]
    found = asker.ask(questions(*replies), number)
    assert [f.value for f in found] == [1, None, 2, None, None, None, 3]
    assert [f.status for f in found] == ["ok", "parse_error", "ok", "context_length", "refused", "refused", "ok"]
    assert asker.facts()["questions"] == {
        "asked": 7,
        "context_length": 1,
        "parse_error": 1,
        "reasked": 2,
        "refused": 2,
    }


def test_what_cannot_be_read_is_asked_again_with_other_tags(asked, asker):
    asked.answer = lambda request: "5" if request.tag == "t#2" else "?"
    [found] = asker.ask(questions("q", tag="t"), number)
    assert (found.value, found.status) == (5, "ok")
    assert [r.tag for r in asked.requests] == ["t", "t#1", "t#2"]
    assert [r.sampling.temperature for r in asked.requests] == [0.0, RETRY_TEMPERATURE, RETRY_TEMPERATURE]
    # A server that answers by the seed alone would say the same again.
    assert len({r.sampling.seed for r in asked.requests}) == 3
    session = asked.opened[-1]
    assert found.refs == [r.key(session.identity) for r in asked.requests]
    statuses = {row.key: row.result.status for row in session.ledger.rows()}
    assert [statuses[k] for k in found.refs] == ["parse_error", "parse_error", "ok"]


def test_a_repetition_is_a_request_of_its_own(asked, asker):
    asker.ask(questions("q"), number)
    asker.repeat = 1
    asker.ask(questions("q"), number)
    one, two = asked.requests
    assert (two.tag, two.sampling.seed) == ("~1", one.sampling.seed + 1)
    asker.repeat = 0
    asker.ask(questions("q"), number)
    assert len(asked.requests) == 2


def test_the_judge_is_its_model_prompts_and_sampling(asked):
    def identity(*templates, **sampling):
        return Asker(ENGINE, Sampling(**sampling), 0).open(RECIPE, "p", *templates)["judge"]

    same = identity("t")
    assert identity("t") == same
    assert len({same, identity("u"), identity("t", temperature=0.5), identity("t", max_tokens=5)}) == 4


def test_requests_know_the_version_of_their_prompts(asked):
    for template in ("t", "u"):
        asker = Asker(ENGINE, Sampling(), 0)
        asked.answer = lambda request: "1"
        asker.open(RECIPE, "judge", template)
        asker.ask(questions("q"), number)
    one, two = (r.purpose for r in asked.requests)
    assert one.startswith("judge:") and one != two
