"""The report on a source: what it counts, and when it is an error."""

from __future__ import annotations

import json

import pytest

from prefine.data.chat import encode
from prefine.data.check import check, render
from prefine.errors import PrefineError
from prefine.recipe import Data
from tests.conftest import make_tokenizer, shared


def write(tmp_path, rows):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return Data(path=str(tmp_path / "rows.jsonl"))


def pair(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_counts_of_everything_that_may_be_wrong(tmp_path):
    rows = [
        pair("Hi", "long answer", "short"),
        pair("Hi", "short", "long answer"),
        pair("Two", "a", "bb"),
        pair("Two", "a", "bb"),
        pair("Empty", " ", "b"),
        pair("Same", "x", " x"),
        pair("<|im_start|>user\nMarked", "a", "b"),
        pair("Bell\x07", "a", "b"),
    ]
    report = check(write(tmp_path, rows))
    assert (report.format, report.rows, report.rows_used, report.groups, report.pairs) == ("trl_preference", 8, 6, 4, 6)
    assert (report.identical, report.empty, report.contradictory) == (1, 1, 1)
    assert (report.repeated_pairs, report.repeated_prompts) == (1, 2)
    assert report.template_markers == {"<|im_start|>": 1} and report.control_characters == 1
    assert report.chosen_longer == pytest.approx(1 / 6)
    # Two dropped rows, and the prompts "Hi" (contradiction), the marked one and the one with a bell.
    assert report.bad_rows == 5 and report.bad_fraction == 5 / 8 and not report.ok
    assert report.dropped_rows["empty_response"] == ["rows.jsonl#4"] and len(report.samples) == 3
    assert any("1 row dropped: empty_response (rows.jsonl#4)" in p for p in report.problems)
    text = render(report)
    assert "bad rows: 62.5%, too many (at most 5.0%)" in text and "format trl_preference" in text
    assert json.loads(json.dumps(report.as_dict()))["ok"] is False
    assert check(write(tmp_path, rows), max_bad_fraction=0.7).ok


def test_a_clean_source_has_no_problems(tmp_path):
    report = check(write(tmp_path, [pair(f"Question {i}", "yes" * (1 + i % 2), "no" * (1 + i % 3)) for i in range(40)]))
    assert report.ok and report.problems == [] and report.bad_fraction == 0
    assert "no problems found" in render(report)


def test_tokens_and_truncation(tmp_path, tokenizer):
    sizes = [("a", 10, 5, 8), ("b", 200, 5, 8), ("c", 10, 200, 210), ("d", 10, 5, 200)]
    rows = [pair(letter * n, "c" * a, "r" * b) for letter, n, a, b in sizes]
    data = write(tmp_path, rows)
    report = check(data, tokenizer, max_length=120)
    whole = encode(tokenizer, [{"role": "user", "content": "p" * 10}], [[{"role": "assistant", "content": "c" * 5}]])
    assert report.tokens["prompt"]["median"] == len(whole.prompt_ids)
    assert report.tokens["chosen"]["max"] == 201 and report.tokens["rejected"]["max"] == 211
    assert report.overlong == {"too_long": 3, "prompt_cut": 1, "responses_cut": 1, "one_side_cut": 1}
    assert any("3 of 4 examples are longer than 120 tokens" in p for p in report.problems)
    assert "<|im_start|>assistant" in report.samples[0]


def test_prompts_without_responses_and_labels_of_one_kind(tmp_path, tokenizer):
    report = check(write(tmp_path, [{"prompt": f"p{i}"} for i in range(5)]), tokenizer)
    assert report.ok and report.responses == 0 and report.tokens["prompt"]["max"] > 2
    rows = [{"prompt": f"p{i}", "completion": "a", "label": True} for i in range(5)]
    report = check(write(tmp_path, rows))
    assert report.labels == {"desirable": {"true": 5, "false": 0}}
    assert report.problems == ["all labels 'desirable' are true; both are needed"]


def test_a_source_without_a_usable_row_is_reported_not_raised(tmp_path):
    report = check(write(tmp_path, [pair("x", "", "b")]))
    assert not report.ok and report.rows_used == 0 and "no row can be used" in report.problems
    assert "too many" in render(report)
    with pytest.raises(PrefineError, match="no known format"):
        check(write(tmp_path, [{"text": "x"}]))


@pytest.mark.acceptance(name="hh_golden_numbers")
def test_hh_harmless():
    report = check(Data(path=str(shared("data/hh_harmless_test.jsonl.gz"))))
    assert report.ok and report.bad_fraction < 0.01 and report.pairs == 2308
    assert round(report.lengths["chosen"]["mean"]) == 167 and round(report.lengths["rejected"]["mean"]) == 210
    assert round(100 * report.chosen_longer) == 44


def test_a_tokenizer_without_a_template_counts_plain_text(tmp_path):
    bare = make_tokenizer()
    bare.chat_template = None
    report = check(write(tmp_path, [pair("abc", "d", "ef")]), bare)
    assert report.tokens["prompt"]["max"] == 3 and report.tokens["rejected"]["max"] == 3
    assert report.ok and "no chat template" in report.problems[0]
