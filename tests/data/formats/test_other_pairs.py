"""Pairs in the columns of other tools, and judgements by a model. The rows are synthetic."""

from __future__ import annotations

import json

import pytest

from prefine.data.messages import Dropped
from tests.data.formats.test_formats import SYSTEM, USER, convert, judged, texts


@pytest.mark.parametrize("reasons", ["rational", "rationale"])
def test_a_revision_knows_what_it_revises(reasons):
    name, group, _ = convert({"prompt": "Hi", "chosen": "better", "rejected": "good", reasons: "It lacked care."})
    better, good = group.candidates
    assert name == "clair" and judged(group) == [("better", "good")]
    assert better.parent == good.id and good.parent is None
    assert better.generator == {"role": "revision", "rationale": "It lacked care."}


def part(role: str, text: str, weight: float) -> dict:
    return {"role": role, "content": [{"type": "text", "value": text}], "loss_weight": weight}


@pytest.mark.acceptance(name="demo_files")
def test_conversations_in_parts_with_weights():
    head = [part("system", "Be kind", 0.0), part("user", "Hi", 0.0)]
    row = {
        "chosen_messages": [*head, part("assistant", "good", 1.0)],
        "rejected_messages": [*head, part("assistant", " bad", 1.0)],
    }
    name, group, source = convert(row)
    assert name == "chosen_messages" and group.messages == [SYSTEM, USER] and judged(group) == [("good", "bad")]
    assert not source.notes["loss_weights_not_followed"] and not group.candidates[0].generator
    row["chosen_messages"][-1]["loss_weight"] = 0.5
    _, group, source = convert(row)
    assert json.loads(group.candidates[0].generator["loss_weights"]) == [0.5]
    assert source.notes["loss_weights_not_followed"] == 1
    with pytest.raises(Dropped, match="no_divergence"):
        convert({**row, "rejected_messages": head}, "chosen_messages")


def test_nemo_pairs_with_rewards():
    row = {"prompt": "Hi", "chosen_response": "a", "rejected_response": "b", "chosen_reward": 2, "rejected_reward": "1"}
    name, group, _ = convert(row)
    assert name == "nemo_dpo" and judged(group) == [("a", "b")]
    assert [c.score("reward") for c in group.candidates] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("preference", "outcome", "strength"),
    [(1.0, "b", 0.0), (1.25, "b", 0.25), (1.5, "tie", 0.5), (1.9375, "a", 0.9375), ("2", "a", 1.0)],
)
def test_alpacaeval_preferences_are_the_chance_of_the_second(preference, outcome, strength):
    row = {
        "instruction": "Hi",
        "output_1": "one",
        "generator_1": "base",
        "output_2": "two",
        "generator_2": "new",
        "annotator": "judge-x",
        "preference": preference,
    }
    _, group, _ = convert(row)
    (found,) = group.comparisons
    sides = {c.id: c for c in group.candidates}
    assert (sides[found.a].text, sides[found.b].text) == ("two", "one") and sides[found.a].generator["model"] == "new"
    assert (found.outcome, found.strength, found.judge) == (outcome, strength, "judge-x")


@pytest.mark.parametrize("preference", [None, "N/A", 0, 3, float("nan")])
def test_a_judge_that_says_nothing_is_no_judgement(preference):
    row = {"instruction": "Hi", "output_1": "one", "output_2": "two", "preference": preference}
    with pytest.raises(Dropped, match="no_preference"):
        convert(row, "alpacaeval_annotations")


def test_ids_of_an_export_come_back():
    row = {"prompt": "Hi", "chosen": "a", "rejected": "b", "chosen_id": "x", "rejected_id": "y", "task": "math"}
    name, group, _ = convert(row)
    assert name == "trl_preference" and group.task == "math" and texts(group) == ["a", "b"]
    assert [c.id for c in group.candidates] == ["x", "y"] and group.comparisons[0].a == "x"
    _, single, _ = convert({"prompt": "Hi", "completion": "a", "label": True, "response_id": "z"})
    assert single.candidates[0].id == "z"
