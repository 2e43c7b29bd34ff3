"""Many responses to one prompt: ranked, scored by a teacher or a reward model, or in steps. The rows are synthetic."""

from __future__ import annotations

import pytest

from prefine.data.messages import Dropped
from tests.data.formats.test_formats import USER, bot, convert, texts


def test_ranks_become_scores():
    answers = [{"answer": t, "model": f"m-{t}", "rank": r} for t, r in [("a", 2.0), ("b", 1.0), ("c", None), (" ", 4)]]
    prompt = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: And?\n\nAssistant: "
    _, group, source = convert({"prompt": prompt, "answers": answers})
    assert [m["content"] for m in group.messages] == ["Hi", "Hello", "And?"]
    assert [c.score("rank") for c in group.candidates] == [-2.0, -1.0, None]
    assert [c.generator["model"] for c in group.candidates] == ["m-a", "m-b", "m-c"]
    assert source.notes["responses_dropped_empty_response"] == 1


def test_a_teachers_scores_by_kind():
    row = {
        "prompt": "Hi",
        "responses": ["a", "b"],
        "scores_mcq": [-0.5, -1.0],
        "scores_logp": [-8.0, -9.0],
        "scores_avglogp": [-2.0, -3.0],
        "scores_avglogp_ref": [-4.0, -5.0],
    }
    name, group, _ = convert(row)
    kinds = {s.scorer: s.kind for s in group.candidates[0].scores}
    assert name == "pad_scored"
    assert kinds == {"mcq": "mcq", "logp": "sum_logp", "avglogp": "avg_logp", "avglogp_ref": "metric"}
    assert [c.score("avglogp") for c in group.candidates] == [-2.0, -3.0]
    with pytest.raises(Dropped, match="scores_do_not_fit_responses: scores_logp"):
        convert({**row, "scores_logp": [-8.0]}, "pad_scored")


def test_samples_with_rewards():
    row = {
        "prompt": "Hi",
        "all_generated_responses": ["a", "b", "a"],
        "all_rm_scores": [0.5, "0.75", 0.5],
        "chosen": [USER, bot("b")],
        "rejected": [USER, bot("a")],
    }
    name, group, source = convert(row)
    assert name == "simpo_onpolicy" and texts(group) == ["a", "b"] and not group.comparisons
    assert [c.score("rm") for c in group.candidates] == [0.5, 0.75] and group.candidates[0].scores[0].kind == "rm"
    assert source.notes["duplicate_responses"] == 1 and not source.notes["conflicting_scores"]
    with pytest.raises(Dropped, match="scores_do_not_fit_responses"):
        convert({**row, "all_rm_scores": [1]}, "simpo_onpolicy")
    del row["all_rm_scores"]
    assert not convert(row)[1].candidates[0].scores


def test_steps_are_one_response_with_a_label_each():
    _, group, _ = convert({"prompt": "2+2+2?", "completions": ["2+2=4", "4+2=7"], "labels": [True, False]})
    assert texts(group) == ["2+2=4\n4+2=7"] and group.candidates[0].labels == {"step_01": True, "step_02": False}
    with pytest.raises(Dropped, match="labels_do_not_fit_steps"):
        convert({"prompt": "x", "completions": ["a"], "labels": []}, "stepwise")


def test_lists_with_models_and_ids():
    row = {
        "prompt": "Hi",
        "responses": ["a", "a"],
        "models": ["m", "n"],
        "response_ids": ["1", "2"],
        "scores_x.y": [1, 2],
    }
    _, group, _ = convert(row)
    assert [(c.id, c.generator, c.score("x.y")) for c in group.candidates] == [
        ("1", {"model": "m"}, 1.0),
        ("2", {"model": "n"}, 2.0),
    ]
