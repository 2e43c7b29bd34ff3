"""What is held out depends on the prompt alone: not on the order of rows, nor on rows that are added."""

from __future__ import annotations

import json

import pytest

from prefine.data.load import load
from prefine.recipe import Data
from tests.conftest import shared
from tests.data.formats.test_formats import bot

SOURCES = {
    "shp": lambda i: {
        "post_id": f"p{i // 2}",
        "history": f"post {i // 2}" + " edited" * (i % 2),
        "human_ref_A": f"a{i}",
        "human_ref_B": f"b{i}",
        "labels": 1,
        "score_ratio": 2.0,
    },
    "tldr_comparisons": lambda i: {
        "info": {"id": f"t{i // 2}", "post": f"post {i}", "title": "T", "subreddit": "s"},
        "summaries": [{"text": f"a{i}", "policy": "p"}, {"text": "b", "policy": "q"}],
        "choice": 0,
    },
    "stackexchange_paired": lambda i: {"qid": i // 2, "question": f"q{i}", "response_j": "a", "response_k": "b"},
    "alma_parallel": lambda i: {"translation": dict([("de", f"d{i // 2}"), ("en", f"e{i // 2}")][:: 1 - 2 * (i % 2)])},
    "trl_preference": lambda i: {
        "prompt": [
            {"role": "user", "content": f"q{i // 2}"},
            *[bot("x"), {"role": "user", "content": "And?"}] * (i % 2),
        ],
        "chosen": "a",
        "rejected": "b",
    },
}


def splits(tmp_path, name: str, rows: list[dict]) -> dict[str, str]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    loaded = load(Data(path=str(file), format=name, test_fraction=0.3))
    return {g.id: g.split for g in loaded.groups}


@pytest.mark.acceptance(name="split_stability")
@pytest.mark.parametrize("name", list(SOURCES))
def test_shuffled_and_added_rows_move_nothing(tmp_path, name):
    rows = [SOURCES[name](i) for i in range(80)]
    some, all_of_them = splits(tmp_path, name, rows[:50]), splits(tmp_path, name, rows[::-1])
    assert all(all_of_them[i] == split for i, split in some.items()) and len(all_of_them) > len(some)
    assert set(all_of_them.values()) == {"train", "test"}


@pytest.mark.acceptance(name="split_stability")
@pytest.mark.parametrize("name", list(SOURCES))
def test_rows_of_one_origin_stay_together(tmp_path, name):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(SOURCES[name](i)) + "\n" for i in range(80)))
    groups = load(Data(path=str(file), format=name, test_fraction=0.3)).groups
    # Rows 2k and 2k + 1 are prompts of their own with the same origin.
    assert len(groups) == 80
    assert all(a.split == b.split for a, b in zip(groups[::2], groups[1::2], strict=True))


@pytest.mark.acceptance(name="split_stability")
def test_depths_of_one_dialogue_of_hh_stay_together():
    groups = load(Data(path=str(shared("data/hh_harmless_test.jsonl.gz")))).groups
    by_text = {tuple(m["content"] for m in g.messages): g.split for g in groups}
    shorter = [
        (by_text[key[:n]], split) for key, split in by_text.items() for n in range(1, len(key)) if key[:n] in by_text
    ]
    assert len(shorter) >= 128 and all(a == b for a, b in shorter)
