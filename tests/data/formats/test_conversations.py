"""Conversations and instructions for supervised fine-tuning. The rows are synthetic."""

from __future__ import annotations

import pytest

from prefine.data.messages import Dropped
from prefine.data.split import split_key
from tests.data.formats.test_formats import USER, bot, convert, convert_all, texts


def test_texts_that_take_turns():
    _, group, source = convert({"id": "0", "data": ["Hi", "Hello", "And?", "Well"]})
    assert [m["role"] for m in group.messages] == ["user", "assistant", "user"] and texts(group) == ["Well"]
    _, group, source = convert({"id": "0", "data": ["Hi", "Hello", "Bye"]})
    assert texts(group) == ["Hello"] and source.notes["trimmed_after_last_response"] == 1
    for data, reason in [
        (["Hi"], "no_assistant_turn"),
        (["Hi", "", "And?", "Well"], "empty_turn"),
        ([1], "bad_type_data"),
    ]:
        with pytest.raises(Dropped) as caught:
            convert({"id": "0", "data": data}, "ultrachat_raw")
        assert caught.value.reason == reason


def test_a_repeated_first_turn_is_not_read_twice():
    turns = [USER, bot("Hello"), {"role": "user", "content": "And?"}, bot("Well")]
    name, group, _ = convert({"prompt": "Hi", "prompt_id": "1", "messages": turns})
    assert name == "ultrachat_200k" and group.messages == turns[:3] and texts(group) == ["Well"]
    assert "prompt" not in group.task_meta


def test_every_instance_of_a_task_is_a_prompt():
    row = {
        "id": "seed_task_0",
        "name": "shout",
        "instruction": "Write it in capitals.",
        "instances": [{"input": "yes", "output": "YES"}, {"input": " ", "output": "?"}, {"input": "x", "output": ""}],
        "is_classification": False,
    }
    _, groups, source = convert_all(row)
    assert [(g.messages[0]["content"], texts(g)) for g in groups] == [
        ("Write it in capitals.\nyes", ["YES"]),
        ("Write it in capitals.", ["?"]),
    ]
    assert len({split_key(g) for g in groups}) == 1 and groups[0].task_meta["name"] == "shout"
    assert source.notes["responses_dropped_empty_response"] == 1
    with pytest.raises(Dropped, match="no_candidates"):
        convert({**row, "instances": []}, "self_instruct_seed")


def test_answers_with_a_final_result():
    _, group, _ = convert({"question": "1+1?", "answer": "It is 1+1=2.\n#### 2"})
    assert group.task == "math" and group.task_meta["reference"] == "2" and texts(group) == ["It is 1+1=2.\n#### 2"]
    _, group, _ = convert({"question": "Who?", "answer": "Me"})
    assert group.task == "chat" and group.task_meta["reference"] == "Me"
