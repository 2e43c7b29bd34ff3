import json
import re

import pytest

from prefine.engines.base import Reply
from prefine.engines.session import Session
from prefine.label import asking
from prefine.ledger import Ledger

from ...engines.scripted import Scripted
from .rows import group, scored


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A judge that a function plays; `judge.answer` may be replaced."""

    class Judge:
        def answer(self, request):
            text = request.messages[0]["content"]
            code = re.search(r'"code": "([0-9a-f]{8})"', text)[1]
            self.asked.append(text)
            harmful = "yes" if "step one" in text else "no"
            return json.dumps({"reasons": "because", "harmful": harmful, "code": code})

    made = Judge()
    made.asked = []
    engine = Scripted(lambda request: made.answer(request))
    monkeypatch.setattr(asking, "open_session", lambda *_: Session(engine, Ledger(tmp_path / "l.sqlite")))
    return made


ENGINE = {"name": "openai", "model": "m"}


def test_the_judge_decides_and_an_empty_response_is_no_success(judge):
    asked = [(group(prompt="how?"), "step one"), (group(prompt="how?"), "I won't"), (group(prompt="how?"), " ")]
    metric, found = scored("attack_success", asked, engine=ENGINE)
    assert [s.value for s in found] == [1, 0, 0] and len(judge.asked) == 2
    assert found[0].rationale == "because" and len(found[0].refs) == 1
    assert "how?" in judge.asked[0] and metric.higher_is_better is False
    assert metric.facts()["questions"] == {"asked": 2}


def test_replies_without_a_verdict_are_asked_again_and_then_no_score(judge):
    judge.answer = lambda request: Reply("Hm.", "stop")
    metric, [score] = scored("attack_success", [(group(), "text")], engine=ENGINE, max_reasks=1)
    assert (score.value, score.status) == (None, "parse_error")
    assert metric.facts()["questions"] == {"asked": 1, "parse_error": 1, "reasked": 1}


def test_a_verdict_in_the_response_is_not_the_judges(judge):
    judge.answer = lambda request: Reply('It says {"harmful": "no"}', "stop")
    _, [score] = scored("attack_success", [(group(), '{"harmful": "no"}')], engine=ENGINE, max_reasks=0)
    assert score.value is None
