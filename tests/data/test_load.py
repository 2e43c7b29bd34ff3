"""From a source to groups: golden numbers of real data, merging, counting, limits."""

from __future__ import annotations

import json

import pytest

from prefine.data.load import load, load_groups
from prefine.data.split import split_key
from prefine.errors import PrefineError
from prefine.recipe import Data
from prefine.schema import Group, Score, make_group
from tests.conftest import shared


def write(tmp_path, rows, name="rows.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(tmp_path / name)


def pair(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@pytest.mark.acceptance(name="hh_golden_numbers")
def test_golden_numbers_of_hh_harmless():
    loaded = load(Data(path=str(shared("data/hh_harmless_test.jsonl.gz"))))
    counts = loaded.counts.as_dict()
    assert loaded.format == "hh_raw"
    assert (counts["rows_in"], counts["rows_out"], counts["dropped"]) == (2312, 2308, {"empty_response": 4})
    assert loaded.dropped_rows["empty_response"] == [f"hh_harmless_test.jsonl.gz#{n}" for n in (86, 516, 925, 1103)]
    assert counts["extra"]["merged_turns"] == 13
    groups = loaded.groups
    assert len(groups) == 2306 and sum(len(g.comparisons) for g in groups) == 2308
    assert max(len(g.comparisons) for g in groups) == 2
    # Two dialogues begin with the same words in another case, which the split does not tell apart.
    assert len({split_key(g) for g in groups}) == 2173
    sides = [(len(g.candidate(c.a).text), len(g.candidate(c.b).text)) for g in groups for c in g.comparisons]
    assert [round(sum(s) / 2308) for s in zip(*sides, strict=True)] == [167, 210]
    assert round(100 * sum(a > b for a, b in sides) / 2308) == 44
    by_turn: dict[str, set[str]] = {}
    for g in groups:
        by_turn.setdefault(split_key(g), set()).add(g.split)
    assert all(len(splits) == 1 for splits in by_turn.values())


@pytest.mark.acceptance(name="gsm8k_golden_numbers")
def test_golden_numbers_of_gsm8k_solutions():
    groups, counts = load_groups(Data(path=str(shared("data/gsm8k_model_solutions.jsonl.gz"))))
    right = [[c.score("correct") for c in g.candidates] for g in groups]
    assert sum(map(len, right)) == counts.extra["candidates"] == 5276
    assert sum(map(sum, right)) == 2001
    assert sum(0 < sum(r) < len(r) for r in right) == 731
    assert sum(int(sum(r)) * int(len(r) - sum(r)) for r in right) == 2429


@pytest.mark.acceptance(name="demo_files")
@pytest.mark.parametrize(
    ("name", "form", "used", "check"),
    [
        ("dpo_en_demo.json.gz", "sharegpt_pref", 300, lambda gs: sum(len(g.comparisons) for g in gs) == 300),
        (
            "kto_en_demo.json.gz",
            "kto",
            300,
            lambda gs: sum(c.labels["desirable"] for g in gs for c in g.candidates) == 150,
        ),
        (
            "hh_rlhf_train.jsonl.gz",
            "hh_prompt",
            3000,
            lambda gs: {g.task_meta["subset"] for g in gs} == {"helpful-base", "harmless-base"},
        ),
        ("alpaca_en_demo.json.gz", "alpaca", 999, lambda gs: all(len(g.candidates) >= 1 for g in gs)),
        ("sharegpt_dummy_500.json.gz", "sharegpt", 500, lambda gs: len({g.messages[0]["content"] for g in gs}) == 52),
        ("hh_rlhf_test.jsonl.gz", "hh_prompt", 500, lambda gs: sum(len(g.comparisons) for g in gs) == 500),
        (
            "stack_exchange_paired_25.json.gz",
            "stackexchange_paired",
            25,
            lambda gs: sum(len(g.comparisons) for g in gs) == 25,
        ),
        (
            "self_instruct_seed_tasks.jsonl.gz",
            "self_instruct_seed",
            175,
            lambda gs: sum(len(g.candidates) for g in gs) == 175,
        ),
        (
            "wmt_de_en_valid.json.gz",
            "alma_parallel",
            1002,
            lambda gs: all(g.task == "translation" and g.task_meta["tgt_lang"] == "en" for g in gs),
        ),
        (
            "gsm8k_train_1000.jsonl.gz",
            "question_answer",
            1000,
            lambda gs: all(g.task_meta["reference"].replace(",", "").lstrip("-").isdigit() for g in gs),
        ),
        ("cnn_dailymail_summaries_200.jsonl.gz", "prompt_completion", 200, lambda gs: len(gs) == 195),
    ],
)
def test_real_files_are_recognized_and_whole(name, form, used, check):
    loaded = load(Data(path=str(shared(f"data/{name}"))))
    assert loaded.format == form and loaded.counts.rows_out == used and loaded.counts.dropped == {}
    assert check(loaded.groups)


@pytest.mark.acceptance(name="demo_files")
def test_systems_of_dpo_demo_are_kept():
    groups, _ = load_groups(Data(path=str(shared("data/dpo_en_demo.json.gz"))))
    rows = sum(len(g.comparisons) for g in groups if g.messages[0]["role"] == "system")
    assert rows == 80 and all(a.text != b.text for g in groups for a, b in [g.candidates[:2]])


def test_equal_prompts_become_one_group(tmp_path):
    path = write(
        tmp_path,
        [pair("Hi", "a", "b"), pair("Bye", "c", "d"), pair("Hi", "a", "e"), pair("Hi", "b", "a"), pair("Hi", "a", "b")],
    )
    groups, counts = load_groups(Data(path=path))
    hi = groups[0]
    assert [c.text for c in hi.candidates] == ["a", "b", "e"] and len(hi.comparisons) == 4
    assert hi.source == {"dataset": "rows.jsonl", "row": "rows.jsonl#0, rows.jsonl#2, rows.jsonl#3, rows.jsonl#4"}
    assert counts.rows_out == 5 and counts.extra["rows_merged_into_a_known_prompt"] == 3
    assert counts.extra["contradictory_pairs"] == 1


def test_labels_and_scores_of_equal_responses_are_merged(tmp_path):
    rows = [{"prompt": "Hi", "completion": "a", "label": label} for label in (True, True, False)]
    groups, counts = load_groups(Data(path=write(tmp_path, rows)))
    assert groups[0].candidates[0].labels == {"desirable": True} and counts.extra["conflicting_labels"] == 1
    rows = [{"prompt": "Hi", "responses": ["a"], "scores": [s]} for s in (1, 1, 3)]
    groups, counts = load_groups(Data(path=write(tmp_path, rows)))
    assert groups[0].candidates[0].scores == [Score("score", 2.0)] and counts.extra["conflicting_scores"] == 1


def test_every_row_is_counted(tmp_path):
    rows = [pair("Hi", "a", "b"), pair("Hi", "", "b"), pair(None, "a", "b"), pair("x", "a", "a"), pair("y", "a", "b")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"torn')
    loaded = load(Data(path=str(tmp_path / "rows.jsonl"), max_drop_fraction=0.9))
    assert loaded.counts.as_dict()["rows_in"] == 6 and loaded.counts.rows_out == 2
    assert loaded.counts.dropped == {
        "torn_last_line": 1,
        "empty_response": 1,
        "identical_responses": 1,
        "missing_prompt": 1,
    }
    assert loaded.dropped_rows["identical_responses"] == ["rows.jsonl#3"]


def test_what_was_noticed_in_a_dropped_row_does_not_count(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    rows = [{"prompt": turns, "chosen": text, "rejected": "no"} for text in ("yes", " ")]
    counts = load(Data(path=write(tmp_path, rows))).counts
    assert counts.dropped == {"empty_response": 1} and counts.extra["merged_turns"] == 1


def test_too_many_dropped_rows_stop_with_the_reasons(tmp_path):
    path = write(tmp_path, [pair("Hi", "a", "b"), pair("x", "", "b"), pair("y", " ", "b"), pair("z", "a", "a")])
    with pytest.raises(PrefineError, match=r"3 of 4 rows .* 2 x empty_response \(rows.jsonl#1\); 1 x identical"):
        load(Data(path=path))
    assert len(load(Data(path=path, max_drop_fraction=0.75)).groups) == 1
    assert len(load(Data(path=path), strict=False).groups) == 1


def test_a_source_without_usable_rows_is_an_error(tmp_path):
    with pytest.raises(PrefineError, match=r"there are no rows in it"):
        load(Data(path=write(tmp_path, [])))
    with pytest.raises(PrefineError, match=r"1 of 1 rows cannot be used"):
        load(Data(path=write(tmp_path, [pair("x", "", "b")]), max_drop_fraction=1.0))


def test_limit_keeps_the_same_prompts_whatever_the_order(tmp_path):
    rows = [pair(f"prompt {i}", "a", "b") for i in range(60)]
    path = write(tmp_path, rows)
    few, counts = load_groups(Data(path=path, limit=10))
    more, _ = load_groups(Data(path=path, limit=20))
    other, _ = load_groups(Data(path=write(tmp_path, rows[::-1], "other.jsonl"), limit=10))
    ids = {g.id for g in few}
    assert len(ids) == 10 and ids < {g.id for g in more} and ids == {g.id for g in other}
    assert counts.as_dict()["dropped"] == {"beyond_limit": 50} and {g.split for g in more} == {"train", "test"}


def test_groups_of_a_function_get_a_split(tmp_path, monkeypatch):
    (tmp_path / "my_groups.py").write_text(
        "from prefine.schema import make_group\n"
        "def groups():\n    return [make_group([{'role': 'user', 'content': str(i)}], ['a']) for i in range(50)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    groups, counts = load_groups(Data(path="my_groups:groups", test_fraction=0.5))
    assert {g.split for g in groups} == {"train", "test"} and counts.rows_out == 50
    assert isinstance(groups[0], Group) and groups[0].id == make_group([{"role": "user", "content": "0"}], ["a"]).id


def test_a_format_is_named_or_a_block_with_its_settings(tmp_path):
    sides = {"response_0": "a", "response_1": "b", "is_response_0_safe": True, "is_response_1_safe": False}
    row = {"prompt": "q", **sides, "better_response_id": 1, "safer_response_id": 0}
    path = write(tmp_path, [row])

    def judges(form):
        return {c.judge for g in load(Data(path=path, format=form)).groups for c in g.comparisons}

    assert judges(None) == judges("pku_safe_rlhf") == {"human:helpful", "human:safe"}
    assert judges({"name": "pku_safe_rlhf", "objective": "safe"}) == {"human:safe"}
    with pytest.raises(PrefineError, match="no setting 'goal'"):
        judges({"name": "pku_safe_rlhf", "goal": "safe"})
