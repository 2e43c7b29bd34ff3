"""Prompts that a teacher improves, with a scripted one."""

import pytest

from prefine.engines.base import Reply
from prefine.generate import stage
from prefine.generate.refine import Refine
from prefine.progress import Progress
from prefine.schema import make_group
from tests.prompts.world import Stopped, rows, seeds

ENGINE = {"name": "hf", "model": "teacher"}


def run(world, block, groups, **section):
    recipe = world.recipe(generator={"engine": ENGINE, **block}, **section)
    source, target = world.folders("generate", groups)
    counts, facts = stage.run(recipe, target, source, Progress.silent())
    return target, counts, facts


def teacher_of_prompts(request):
    """Improves `x` to `x+`, and answers with the prompt's length."""
    text = request.messages[-1]["content"]
    if request.purpose.startswith("refine:answer"):
        return f"answer to {text}"
    prompt = text.partition("<prompt>\n")[2].partition("\n</prompt>")[0]
    assert f"<answer>\nanswer to {prompt}\n</answer>" in text
    return f"<improved>{prompt}+</improved>"


def test_refine_goes_on_with_the_improved_prompt(world):
    groups = seeds("first prompt", "second prompt")
    made = world({"teacher": teacher_of_prompts})
    target, counts, _ = run(made, {"name": "refine", "rounds": 2}, groups, num_responses=2)
    found = {g.task_meta[stage.ORIGIN]: g for g in target.groups()}
    assert set(found) == {g.id for g in groups}
    for group in groups:
        new = found[group.id]
        assert new.prompt == group.prompt + "++"
        assert new.id == make_group(new.messages).id
        assert [c.text for c in new.candidates] == [f"answer to {group.prompt}++"] * 2
        assert new.task_meta["split_key"] == group.prompt
        assert new.split == group.split
    # Two rounds of an answer and an improvement, then two answers.
    assert sum(made.calls.values()) == 2 * (2 * 2 + 2)
    assert counts.extra["improved_prompts"] == 4
    assert counts.rows_out == 2


def test_what_cannot_be_used_leaves_the_prompt_as_it_was(world):
    replies = {
        "none": "no tags",
        "same": "<improved>same</improved>",
        "long": "<improved>" + "w " * 200 + "</improved>",
    }
    cut = Reply("<improved>cut</improved>", "length")

    def answer(request):
        if request.purpose.startswith("refine:answer"):
            return "it is so because it is"
        prompt = request.messages[0]["content"].partition("<prompt>\n")[2].partition("\n")[0]
        return cut if prompt == "cut" else replies[prompt]

    target, counts, _ = run(world({"teacher": answer}), {"name": "refine"}, seeds("none", "same", "long", "cut"))
    assert {g.prompt for g in target.groups()} == {"none", "same", "long", "cut"}
    assert counts.extra["improvements_not_usable"] == 4


def test_refine_drops_bad_answers_and_gives_capitals(world):
    groups = seeds("how are you? i ask", "What is it?", "tell me of cats")

    def answer(request):
        text = request.messages[-1]["content"]
        return "As an AI language model, I am fine." if "cats" in text.lower() else "i am well. thanks"

    block = {"name": "refine", "rounds": 0, "truecase": True}
    target, counts, _ = run(world({"teacher": answer}), block, groups, num_responses=1)
    assert {g.prompt: g.candidates[0].text for g in target.groups()} == {
        "How are you? I ask": "I am well. Thanks",
        "What is it?": "I am well. Thanks",
    }
    assert counts.dropped == {"boilerplate": 1}
    kept, counts, _ = run(world({"teacher": answer}, name="all"), {**block, "filter": False}, groups, num_responses=1)
    assert len(rows(kept)) == 3


def test_two_prompts_that_become_one_are_counted(world):
    def answer(request):
        return "an answer of its own" if request.purpose.startswith("refine:answer") else "<improved>one</improved>"

    target, counts, _ = run(world({"teacher": answer}), {"name": "refine"}, seeds("a", "b"), num_responses=1)
    assert [g.prompt for g in target.groups()] == ["one"]
    assert counts.as_dict()["dropped"] == {"duplicate_prompt": 1}


def test_a_killed_refinement_ends_in_the_same_rows(world, monkeypatch):
    monkeypatch.setattr(stage, "PART", 1)
    groups = seeds("first prompt", "second prompt", "third prompt")
    whole = world({"teacher": teacher_of_prompts}, name="whole")
    target, counts, _ = run(whole, {"name": "refine"}, groups, num_responses=1)
    for limit in (1, 4, 8):
        killed = world({"teacher": teacher_of_prompts}, limit, name=f"killed-{limit}")
        with pytest.raises(Stopped):
            run(killed, {"name": "refine"}, groups, num_responses=1)
        killed.limit = None
        again, after, _ = run(killed, {"name": "refine"}, groups, num_responses=1)
        assert rows(again) == rows(target)
        assert after.as_dict() == counts.as_dict()
        assert set(killed.calls.values()) == {1}


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="rounds must be 0 or more"):
        Refine(ENGINE, rounds=-1)
