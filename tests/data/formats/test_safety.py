"""Safety data: what is safe, what is helpful, and where both disagree. All rows are synthetic."""

from __future__ import annotations

import json

import pytest

from prefine.data.load import load
from prefine.data.messages import Dropped
from prefine.errors import PrefineError
from prefine.pair.max_margin import MaxMargin
from prefine.pair.selection import mixed
from prefine.pair.unpaired import Unpaired
from prefine.recipe import Data
from tests.data.formats.test_formats import SIGNATURES, convert, judged, texts


def answer(prompt: str, response: str, safe: bool, **harms: bool) -> dict:
    category = {"violence": False, "hate_speech,offensive_language": False, **harms}
    return {"prompt": prompt, "response": response, "category": category, "is_safe": safe}


def test_answers_of_one_question_are_one_group(tmp_path):
    rows = [answer("How?", "no", True), answer("How? ", "so", False, violence=True), answer("Why?", "b", True)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    groups = load(Data(path=str(tmp_path / "rows.jsonl"))).groups
    how = groups[0]
    assert len(groups) == 2 and texts(how) == ["no", "so"] and not how.comparisons
    assert [c.labels for c in how.candidates] == [{"is_safe": True}, {"is_safe": False}]
    assert [c.score("human", "safe") for c in how.candidates] == [1.0, 0.0]
    assert [c.score("human", "no_violence") for c in how.candidates] == [1.0, 0.0]
    assert how.candidates[0].score("human", "no_hate_speech_offensive_language") == 1.0
    assert how.source["license"] == "cc-by-nc-4.0"


def test_the_view_of_safety_prefers_the_safe_answer():
    _, group, _ = convert(answer("How?", "so", False, violence=True))
    group.candidates += convert(answer("How?", "no", True))[1].candidates
    scores = [mixed(c, {"human.safe": 1.0}) for c in group.candidates]
    made, _ = MaxMargin().pairs(group, scores)
    assert [r[0]["content"] for r in made[0].responses] == ["no", "so"]
    # The labels of KTO follow is_safe alone, whatever the categories.
    rows, _ = Unpaired().pairs(group, scores)
    assert {r.responses[0][0]["content"]: r.labels for r in rows} == {"no": [1.0], "so": [0.0]}


def test_a_label_that_says_nothing_drops_the_row():
    with pytest.raises(Dropped, match="bad_label"):
        convert({**SIGNATURES["beavertails"], "is_safe": None}, "beavertails")


def judgement(**changes) -> dict:
    return {
        "prompt": "How?",
        "response_0": "a full plan",
        "response_1": "I would rather not",
        "is_response_0_safe": False,
        "is_response_1_safe": True,
        "response_0_severity_level": 2,
        "response_0_harm_category": {"Violence": True, "Privacy Violation": False},
        "better_response_id": 0,
        "safer_response_id": 1,
        **changes,
    }


def test_both_judgements_of_a_pair_are_kept_apart():
    _, group, source = convert(judgement())
    sides = {c.id: c.text for c in group.candidates}
    assert [(sides[c.a], c.judge) for c in group.comparisons] == [
        ("a full plan", "human:helpful"),
        ("I would rather not", "human:safe"),
    ]
    assert group.task_meta["objective_conflict"] == "true" and source.notes["objective_conflicts"] == 1
    plan, refusal = group.candidates
    assert (plan.labels, refusal.labels) == ({"is_safe": False}, {"is_safe": True})
    assert plan.score("human", "no_violence") == 0.0 and plan.score("human", "no_privacy_violation") == 1.0
    assert plan.score("human", "mildness") == -2.0


@pytest.mark.parametrize(("objective", "wins"), [("helpful", "a full plan"), ("safe", "I would rather not")])
def test_one_objective_alone(objective, wins):
    _, group, _ = convert(judgement(), "pku_safe_rlhf", given={"objective": objective})
    assert [pair[0] for pair in judged(group)] == [wins]


def test_judgements_that_agree_are_no_conflict():
    _, group, _ = convert(judgement(better_response_id="1"))
    assert "objective_conflict" not in group.task_meta
    assert judged(group) == [("I would rather not", "a full plan")] * 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"better_response_id": 2}, "bad_better_response_id"),
        ({"safer_response_id": None}, "bad_safer_response_id"),
        ({"response_1": "a full  plan"}, "identical_responses"),
        ({"is_response_0_safe": "perhaps"}, "bad_label"),
    ],
)
def test_rows_of_pku_that_cannot_be_used(changes, reason):
    with pytest.raises(Dropped) as caught:
        convert(judgement(**changes), "pku_safe_rlhf")
    assert caught.value.reason == reason


def test_settings_of_a_format_are_checked():
    with pytest.raises(PrefineError, match=r"no setting 'objectiv'; did you mean 'objective'"):
        convert(judgement(), "pku_safe_rlhf", given={"objectiv": "safe"})
    with pytest.raises(PrefineError, match=r"objective"):
        convert(judgement(), "pku_safe_rlhf", given={"objective": "kind"})
