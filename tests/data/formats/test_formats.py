"""Each format: that its columns are recognized, and what a row becomes."""

from __future__ import annotations

import pytest

from prefine.data.build import Source
from prefine.data.detect import detect
from prefine.data.messages import Dropped
from prefine.errors import PrefineError
from prefine.registry import formats
from prefine.schema import Example, Group, example_to_row, group_from_row, group_to_row, make_group

USER, SYSTEM = {"role": "user", "content": "Hi"}, {"role": "system", "content": "Be kind"}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def convert(row: dict, wanted: str | None = None, **settings) -> tuple[str, Group, Source]:
    name, groups, source = convert_all(row, wanted, **settings)
    return name, groups[0], source


def convert_all(row: dict, wanted: str | None = None, **settings) -> tuple[str, list[Group], Source]:
    """All groups of a row; `given` are settings of the format, the others those of the source."""
    name, form = detect([row] * 120, "rows", wanted, settings.pop("given", None))
    source = Source("rows", **settings)
    found = form(row, source)
    return name, found if isinstance(found, list) else [found], source


def texts(group: Group) -> list[str]:
    return [c.text for c in group.candidates]


def judged(group: Group) -> list[tuple[str, str]]:
    """(preferred text, other text) of each comparison."""
    sides = {c.id: c.text for c in group.candidates}
    return [(sides[c.a], sides[c.b]) for c in group.comparisons if c.outcome == "a"]


SIGNATURES = {
    "canonical": {"messages": [USER], "candidates": [{"text": "a"}]},
    "examples": {"group_id": "g", "prompt": [USER], "responses": [[bot("a")], [bot("b")]], "candidate_ids": ["1", "2"]},
    "gsm8k_solutions": {"question": "1+1", "m1": {"is_correct": True, "solution": "2"}, "m2": None},
    "hh_raw": {"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: b"},
    "hh_prompt": {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " a", "rejected": " b"},
    "listwise": {"prompt": "Hi", "responses": ["a", "b"], "scores": [1, 2.5]},
    "sharegpt_pref": {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    "kto": {"prompt": "Hi", "completion": "a", "label": True},
    "trl_preference": {"prompt": "Hi", "chosen": "a", "rejected": "b"},
    "messages": {"messages": [USER, bot("a")]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "a"}]},
    "alpaca": {"instruction": "Hi", "input": "", "output": "a"},
    "prompt_completion": {"prompt": "Hi", "completion": "a"},
    "prompt_only": {"prompt": "Hi"},
    "ultrafeedback_raw": {
        "instruction": "Hi",
        "models": ["m"],
        "completions": [{"model": "m", "response": "a", "annotations": {}}],
    },
    "ultrafeedback_binarized": {
        "prompt": "Hi",
        "prompt_id": "1",
        "chosen": [USER, bot("a")],
        "rejected": [USER, bot("b")],
        "messages": [USER, bot("a")],
        "score_chosen": 8.0,
        "score_rejected": 5.0,
    },
    "beavertails": {"prompt": "Hi", "response": "a", "category": {"x": False}, "is_safe": True},
    "pku_safe_rlhf": {
        "prompt": "Hi",
        "response_0": "a",
        "response_1": "b",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "better_response_id": 0,
        "safer_response_id": 0,
    },
    "shp": {"post_id": "p", "history": "Hi", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_ratio": 2.0},
    "stackexchange_raw": {"qid": 1, "question": "<p>Hi</p>", "answers": [{"answer_id": 1, "pm_score": 1, "text": "a"}]},
    "stackexchange_paired": {"question": "Hi", "response_j": "a", "response_k": "b"},
    "tldr_comparisons": {
        "info": {"id": "t", "post": "Hi", "title": "T", "subreddit": "s"},
        "summaries": [{"text": "a", "policy": "p"}, {"text": "b", "policy": "q"}],
        "choice": 0,
    },
    "tldr_axis": {
        "info": {"id": "t", "post": "Hi", "title": "T", "subreddit": "s"},
        "summary": {"text": "a", "policy": "p", "axes": {"overall": 5}},
    },
    "tldr_sft": {"id": "t", "subreddit": "s", "title": "T", "post": "Hi", "summary": "a"},
    "nectar": {"prompt": "\n\nHuman: Hi\n\nAssistant: ", "answers": [{"answer": "a", "model": "m", "rank": 1.0}]},
    "pad_scored": {"prompt": "Hi", "responses": ["a", "b"], "scores_mcq": [-0.1, -0.2]},
    "simpo_onpolicy": {"prompt": "Hi", "all_generated_responses": ["a", "b"], "all_rm_scores": [1.0, 2.0]},
    "alma_triplets": {"translation": {"de": "Hi", "en": "a", "alma_en": "a", "gpt4_en": "b"}},
    "alma_parallel": {"translation": {"de": "Hi", "en": "a"}},
    "maple": {"source": "Hi", "translation": "a", "system": "m", "score": 3.0},
    "chosen_messages": {"chosen_messages": [USER, bot("a")], "rejected_messages": [USER, bot("b")]},
    "clair": {"prompt": "Hi", "chosen": "a", "rejected": "b", "rational": "because"},
    "nemo_dpo": {"prompt": "Hi", "chosen_response": "a", "rejected_response": "b"},
    "stepwise": {"prompt": "Hi", "completions": ["a"], "labels": [True]},
    "alpacaeval_annotations": {"instruction": "Hi", "output_1": "a", "output_2": "b", "preference": 1.25},
    "ultrachat_raw": {"id": "0", "data": ["Hi", "a"]},
    "ultrachat_200k": {"prompt": "Hi", "prompt_id": "1", "messages": [USER, bot("a")]},
    "self_instruct_seed": {"instruction": "Hi", "instances": [{"input": "", "output": "a"}]},
    "question_answer": {"question": "Hi", "answer": "a"},
}
BY_NAME_ONLY = {"mt_pref": {"prompt": "Hi", "chosen": "a", "rejected": "b"}}
"""Formats whose columns are those of another one."""


WANTED = {"gsm8k_solutions": "1+1"}


@pytest.mark.parametrize("name", list(SIGNATURES))
def test_columns_are_recognized(name):
    found, group, _ = convert(SIGNATURES[name])
    assert found == name
    prompt = group.messages[-1]["content"]
    assert "Hi" in prompt if group.task in ("translation", "summarization") else prompt == WANTED.get(name, "Hi")
    assert texts(group)[:1] == ([] if name == "prompt_only" else ["2" if name == "gsm8k_solutions" else "a"])


def test_every_format_has_a_signature_here_and_its_own_rank():
    assert set(SIGNATURES) | set(BY_NAME_ONLY) == set(formats.entries())
    ranks = [entry.load().rank for entry in formats.entries().values()]
    assert len(ranks) == len(set(ranks))


def test_types_decide_not_names():
    kto, _, _ = convert({"messages": [USER, bot("a")], "label": False})
    assert kto == "kto"
    assert convert({"prompt": [USER], "chosen": [bot("a")], "rejected": [bot("b")]})[0] == "trl_preference"
    # One odd row in a hundred does not change what the table is.
    rows = [{"prompt": "Hi", "completion": "a"}] * 110 + [{"prompt": None, "completion": [bot("a")]}] * 2
    assert detect(rows, "rows")[0] == "prompt_completion"


def test_unknown_columns_name_the_columns_and_the_way_out():
    with pytest.raises(PrefineError, match=r"poem \(text\).*--format.*alpaca"):
        detect([{"poem": "x", "lines": 3}], "rows")
    with pytest.raises(PrefineError, match=r"nearest is 'trl_preference' .*: 'rejectd' may be meant as 'rejected'"):
        detect([{"prompt": 3, "chosen": [bot("a")], "rejectd": [bot("b")]}], "rows")
    with pytest.raises(PrefineError, match=r"add the column"):
        detect([{"chosen": "Hello a", "rejected": "Hello b"}], "rows")


def test_ambiguous_columns_are_an_error_and_a_name_decides():
    row = {"instruction": "Hi", "output": "a", "conversations": SIGNATURES["sharegpt"]["conversations"]}
    with pytest.raises(PrefineError, match=r"fit the formats sharegpt, alpaca; choose one with data.format"):
        detect([row], "rows")
    assert convert(row, "alpaca")[0] == "alpaca"
    with pytest.raises(PrefineError, match=r"did you mean 'alpaca'"):
        detect([row], "rows", "alpacca")
    with pytest.raises(PrefineError, match=r"format 'kto' reads the columns .* found: text \(text\)"):
        detect([{"text": "x"}], "rows", "kto")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "good", "rejected": "bad"},
        {"prompt": [USER], "chosen": [bot("good")], "rejected": [bot("bad")]},
        {"prompt": "Hi", "chosen": [bot("good")], "rejected": bot("bad")},
        {"prompt": "Hi", "chosen": [USER, bot("good")], "rejected": [USER, bot("bad")]},
        {"chosen": [USER, bot("good")], "rejected": [USER, bot(" bad\n")]},
        {"prompt": "Hi", "chosen": "good", "rejected": "bad", "score_chosen": 8, "score_rejected": "3.5"},
    ],
)
def test_pairs_in_all_their_shapes_are_one_group(row):
    _, group, _ = convert(row)
    assert group.messages == [USER] and judged(group) == [("good", "bad")]
    assert group.comparisons[0].judge == "rows"
    scores = [c.score("score") for c in group.candidates]
    assert scores == ([8.0, 3.5] if "score_chosen" in row else [None, None])


def test_implicit_prompt_ends_with_the_last_shared_user_turn():
    first, second = bot("Hello"), {"role": "user", "content": "And?"}
    _, group, _ = convert(
        {"chosen": [SYSTEM, USER, first, second, bot("a")], "rejected": [SYSTEM, USER, first, second, bot("b")]}
    )
    assert group.messages == [SYSTEM, USER, first, second] and judged(group) == [("a", "b")]
    # Both begin with the same answer: it belongs to the responses, since the prompt ends with the user.
    other = {"role": "user", "content": "Why?"}
    _, group, source = convert({"chosen": [USER, first, second, bot("a")], "rejected": [USER, first, other, bot("b")]})
    assert group.messages == [USER] and group.candidates[0].completion == [first, second, bot("a")]
    assert source.notes["multi_turn_responses"] == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [USER, bot("a")], "rejected": [USER, bot("a")]}, "identical_responses"),
        ({"chosen": [USER, bot("a")], "rejected": [USER]}, "no_divergence"),
        ({"chosen": [USER, bot("a")], "rejected": [SYSTEM, bot("a")]}, "no_divergence"),
        ({"prompt": "Hi", "chosen": "a  b", "rejected": " a b"}, "identical_responses"),
        ({"prompt": "Hi", "chosen": " ", "rejected": "b"}, "empty_response"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty_prompt"),
        ({"prompt": [USER, bot("x")], "chosen": "a", "rejected": "b"}, "prompt_ends_with_assistant"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "score_chosen": 5, "score_rejected": 5.0}, "tied_scores"),
        ({"prompt": "Hi", "chosen": "a\ud800", "rejected": "b"}, "bad_unicode"),
        ({"prompt": [{"role": "narrator", "content": "x"}], "chosen": "a", "rejected": "b"}, "unknown_role"),
    ],
)
def test_pairs_that_cannot_be_used(row, reason):
    with pytest.raises(Dropped) as caught:
        convert(row)
    assert caught.value.reason == reason


def test_types_inside_a_row_are_checked_row_by_row():
    _, form = detect([SIGNATURES["trl_preference"]] * 120, "rows")
    for row, reason in [
        ({"prompt": "Hi", "chosen": None, "rejected": "b"}, "missing_chosen"),
        ({"prompt": "Hi", "chosen": 3, "rejected": "b"}, "bad_type_chosen"),
        ({"prompt": 3.0, "chosen": "a", "rejected": "b"}, "bad_type_prompt"),
        ({"chosen": "a", "rejected": "b"}, "no_divergence"),
    ]:
        with pytest.raises(Dropped) as caught:
            form(row, Source("rows"))
        assert caught.value.reason == reason


def test_roles_and_turns_are_tidied():
    row = {
        "conversations": [
            {"from": "gpt", "value": "(a leftover)"},
            {"from": "human", "value": "one"},
            {"from": "user", "value": "two"},
            {"from": "bard", "value": "answer"},
            {"from": "human", "value": "three"},
            {"from": "chatgpt", "value": "final"},
            {"from": "human", "value": "thanks"},
        ]
    }
    _, group, source = convert(row)
    assert [m["role"] for m in group.messages] == ["user", "assistant", "user"]
    assert group.messages[0]["content"] == "one\n\ntwo" and texts(group) == ["final"]
    assert source.notes == {"merged_turns": 1, "trimmed_leading_assistant": 1, "trimmed_after_last_response": 1}


def test_tool_turns_and_content_parts():
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Wea"}, {"type": "text", "text": "ther?"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"name": "weather"}]},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": "It rains."},
        ]
    }
    _, group, _ = convert(row)
    assert [m["content"] for m in group.messages] == ["Weather?", '[{"name": "weather"}]', "rain"]
    row["messages"][0]["content"] = [{"type": "image", "url": "x"}]
    with pytest.raises(Dropped, match="not_text"):
        convert(row)


def test_hh_transcripts():
    head = '\n\nHuman: Is "Human:" a word?\n\nHuman: Hello?\n\nAssistant: Yes.'
    row = {
        "chosen": head + "\n\nHuman: ok\n\nAssistant: good",
        "rejected": head + "\n\nHuman: ok\n\nAssistant: bad\nAssistant: x",
    }
    _, group, source = convert(row)
    assert [m["content"] for m in group.messages] == ['Is "Human:" a word?\n\nHello?', "Yes.", "ok"]
    assert judged(group) == [("good", "bad\nAssistant: x")] and source.notes["merged_turns"] == 2
    form = formats.find("hh_raw").load()()
    for bad, reason in [
        ({**row, "rejected": row["rejected"].replace("ok", "no")}, "context_differs"),
        ({**row, "chosen": head + "\n\nHuman: ok\n\nAssistant:"}, "empty_response"),
        ({**row, "chosen": row["rejected"]}, "identical_responses"),
        ({**row, "chosen": "Once" + row["chosen"]}, "no_transcript"),
    ]:
        with pytest.raises(Dropped) as caught:
            form(bad, Source("rows"))
        assert caught.value.reason == reason


def test_hh_with_a_prompt_column_gives_the_same_group():
    whole = {"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: b"}
    assert convert(SIGNATURES["hh_prompt"])[1].id == convert(whole)[1].id
    assert judged(convert(SIGNATURES["hh_prompt"])[1]) == judged(convert(whole)[1]) == [("a", "b")]


def test_listwise_scores():
    row = {
        "prompt": "Hi",
        "responses": ["a", " ", "b", "a "],
        "scores": [1, 9, "N/A", 3],
        "scores_mcq": [-0.5, 0, -1, -0.5],
    }
    name, group, source = convert(row)
    assert name == "pad_scored" and texts(group) == ["a", "b"]
    assert [c.score("score") for c in group.candidates] == [2.0, None]
    assert [c.score("mcq") for c in group.candidates] == [-0.5, -1.0]
    assert group.candidates[1].scores[0].status == "na"
    assert source.notes["responses_dropped_empty_response"] == 1
    assert source.notes["duplicate_responses"] == source.notes["conflicting_scores"] == 1
    with pytest.raises(Dropped, match="scores_do_not_fit_responses"):
        convert({**row, "scores": [1, 2]})


def test_listwise_without_scores_and_with_messages():
    _, group, _ = convert({"prompt": [USER], "responses": [[bot("a")], [bot("b")]]})
    assert texts(group) == ["a", "b"] and not group.candidates[0].scores


def test_solutions_of_two_models_stay_two_responses():
    row = {
        "question": "1+1",
        "ground_truth": "2",
        "small": {"is_correct": True, "solution": "It is 2"},
        "large": {"is_correct": True, "solution": "It is 2"},
        "other": {"is_correct": False, "solution": "3"},
    }
    _, group, _ = convert(row)
    assert [(c.generator["model"], c.score("correct")) for c in group.candidates] == [
        ("small", 1),
        ("large", 1),
        ("other", 0),
    ]
    assert group.task == "math" and group.task_meta == {"reference": "2"}


def test_kto_labels():
    for label, wanted in [(True, True), (0, False), ("1", True), ("False", False)]:
        _, group, _ = convert({"prompt": "Hi", "completion": "a", "label": label})
        assert group.candidates[0].labels == {"desirable": wanted}
    with pytest.raises(Dropped, match="bad_label"):
        convert({"prompt": "Hi", "completion": "a", "label": "maybe"})


def test_alpaca_with_everything():
    row = {"instruction": "Add", "input": "1 2", "output": "3", "system": "Be exact", "history": [["Hi", "Hello"]]}
    _, group, _ = convert(row)
    assert [(m["role"], m["content"]) for m in group.messages] == [
        ("system", "Be exact"),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Add\n1 2"),
    ]


def test_prompt_only_keeps_task_and_other_columns():
    row = {
        "prompt": [USER, bot("x")],
        "task": "translation",
        "task_meta": {"target": "de"},
        "answer": "42",
        "n": 3,
        "list": [1],
    }
    _, group, _ = convert(row)
    assert group.messages == [USER] and group.task == "translation"
    assert group.task_meta == {"answer": "42", "n": "3", "target": "de"}


def test_stored_groups_come_back_as_they_were():
    group = make_group([USER], ["a", "b "], task_meta={"k": "v"}, generator={"model": "m", "seed": "1"})
    group.candidates[0].labels["desirable"] = True
    group.candidates[0].parent = group.candidates[1].id
    row = group_to_row(group)
    row["candidates"][0]["scores"] = [
        {"scorer": "s", "value": 1.0, "kind": "metric", "aspect": "x", "status": "ok", "rationale": None},
        {"scorer": "t", "value": None, "kind": "metric", "aspect": None, "status": "refused", "rationale": None},
    ]
    row["comparisons"] = [
        {"a": group.candidates[1].id, "b": group.candidates[0].id, "outcome": "tie", "judge": "j", "strength": 0.5}
    ]
    name, again, _ = convert(row)
    assert name == "canonical"
    again.source = {}
    assert group_to_row(again) == group_to_row(group_from_row(row))


def test_examples_of_the_pair_stage_can_be_read_again():
    example = Example("e", "g", [USER], [[bot("a")], [bot("b")], [bot("c")]], ["1", "2", "3"], [3.0, 2.0, 1.0])
    _, group, _ = convert(example_to_row(example))
    assert judged(group) == [("a", "b"), ("b", "c")]
    assert [c.score("score") for c in group.candidates] == [3, 2, 1]


def test_plain_text_keeps_white_space():
    _, group, _ = convert({"prompt": "Q: ", "chosen": " yes\n", "rejected": " no"}, plain_text=True)
    assert group.messages[0]["content"] == "Q: " and texts(group) == [" yes\n", " no"]
