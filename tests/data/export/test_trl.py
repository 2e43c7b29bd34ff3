"""TRL's columns, exactly; and the way back to the same groups."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from prefine.cli.exporting import export_folder
from prefine.errors import PrefineError
from prefine.schema import Example
from tests.conftest import shared
from tests.data.export.folders import imported, imported_file, known, load, stage_of

SYSTEM = {"role": "system", "content": "Be kind"}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PAIRS = [
    *({"prompt": f"question {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(12)),
    {"prompt": [SYSTEM, user("a"), bot("b"), user("c")], "chosen": [bot("d")], "rejected": [bot("e")]},
    {"prompt": "question 3", "chosen": "yes 3", "rejected": "other"},
]


@pytest.mark.acceptance(name="other_tools")
def test_preference_rows_have_three_columns_of_messages(tmp_path):
    folder = imported(tmp_path, PAIRS)
    facts = export_folder(folder.path, "trl", tmp_path / "out")
    found = load(tmp_path / "out", tmp_path)
    assert {s: d.num_rows for s, d in found.items()} == facts.rows and sum(facts.rows.values()) == 14
    rows = [row for split in found.values() for row in split]
    assert all(set(row) == {"prompt", "chosen", "rejected"} for row in rows)
    assert {tuple(m["content"] for m in r["prompt"]) for r in rows} >= {("question 0",), ("Be kind", "a", "b", "c")}
    assert {"prompt": [user("question 3")], "chosen": [bot("yes 3")], "rejected": [bot("other")]} in rows
    # TRL itself calls these rows conversational and needs no prompt extracted.
    trl = pytest.importorskip("trl.data_utils")
    assert all(trl.is_conversational(row) for row in rows)
    assert trl.maybe_extract_prompt(dict(rows[0])) == rows[0]


@pytest.mark.acceptance(name="export_round_trip")
def test_the_way_out_and_back_keeps_ids_and_splits(tmp_path):
    folder = imported(tmp_path, PAIRS)
    export_folder(folder.path, "trl", tmp_path / "out")
    (tmp_path / "back").mkdir()
    again = imported_file(tmp_path / "back", str(tmp_path / "out"), test_fraction=0.4)
    assert known(again.groups()) == known(folder.groups())
    # Splits are decided by the prompt, so each file holds what it held before.
    held_out = {r["prompt"][-1]["content"] for r in pq.read_table(tmp_path / "out" / "test.parquet").to_pylist()}
    assert held_out == {g.prompt for g in again.groups() if g.split == "test"}


def test_ids_of_other_tasks_and_writers_come_back_when_they_are_written(tmp_path):
    folder = imported_file(tmp_path, str(shared("data/gsm8k_model_solutions.jsonl.gz")))
    chosen = {"pairer": "{name: all_pairs}", "score": "correct", "license": "mit"}
    export_folder(folder.path, "trl", tmp_path / "out", with_ids=True, **chosen)
    (tmp_path / "back").mkdir()
    again = imported_file(tmp_path / "back", str(tmp_path / "out"))
    before = {g.id: {c.id for c in g.candidates} for g in folder.groups()}
    after = {g.id: {c.id for c in g.candidates} for g in again.groups()}
    assert len(after) == 731 and all(after[i] <= before[i] for i in after)
    # Without them, a task that is not chat makes another prompt.
    export_folder(folder.path, "trl", tmp_path / "plain", **chosen)
    assert set(pq.read_schema(tmp_path / "plain" / "train.parquet").names) == {"prompt", "chosen", "rejected"}


def test_the_demo_of_preferences(tmp_path):
    folder = imported_file(tmp_path, str(shared("data/dpo_en_demo.json.gz")))
    facts = export_folder(folder.path, "trl", tmp_path / "out")
    rows = [r for split in load(tmp_path / "out", tmp_path).values() for r in split]
    compared = [g for g in folder.groups() for _ in g.comparisons]
    assert len(compared) == 300 and sum(g.messages[0]["role"] == "system" for g in compared) == 80
    # Five rows stand in the file twice; a pair is written once.
    assert len(rows) == sum(facts.rows.values()) == 295
    assert sum(r["prompt"][0]["role"] == "system" for r in rows) == sum(
        g.messages[0]["role"] == "system" for g in folder.groups()
    )
    assert all(r["chosen"][-1]["content"].split() != r["rejected"][-1]["content"].split() for r in rows)


def test_labels_as_they_came(tmp_path):
    folder = imported_file(tmp_path, str(shared("data/kto_en_demo.json.gz")))
    export_folder(folder.path, "trl_unpaired", tmp_path / "out")
    rows = [r for split in load(tmp_path / "out", tmp_path).values() for r in split]
    assert len(rows) == 300 and sum(r["label"] for r in rows) == 150
    assert set(rows[0]) == {"prompt", "completion", "label"} and rows[0]["completion"][-1]["role"] == "assistant"


@pytest.mark.acceptance(name="gsm8k_golden_numbers")
def test_every_solution_is_a_row_for_kto(tmp_path):
    folder = imported_file(tmp_path, str(shared("data/gsm8k_model_solutions.jsonl.gz")))
    for i, more in enumerate(({}, {"score": "correct", "threshold": 0.5})):
        facts = export_folder(folder.path, "trl_unpaired", tmp_path / f"out-{i}", **more)
        labels = [r["label"] for p in (tmp_path / f"out-{i}").iterdir() for r in pq.read_table(p).to_pylist()]
        assert sum(facts.rows.values()) == len(labels) == 5276 and sum(labels) == 2001


def test_sft_rows(tmp_path):
    rows = [{"instruction": f"Say {i}", "output": str(i)} for i in range(6)]
    folder = imported(tmp_path, rows)
    export_folder(folder.path, "trl_sft", tmp_path / "out")
    found = [r for split in load(tmp_path / "out", tmp_path).values() for r in split]
    assert len(found) == 6 and {"prompt": [user("Say 2")], "completion": [bot("2")]} in found


def example(i: int, **more) -> Example:
    sides = [[bot(f"yes {i}")], [bot(f"no {i}")]]
    return Example(f"e{i}", f"g{i}", [user(f"q {i}")], sides, [f"a{i}", f"b{i}"], **more)


def test_examples_of_a_pair_stage_are_exported_as_they_are(tmp_path):
    folder = stage_of(tmp_path, [example(i, split="test" if i == 3 else "train") for i in range(5)])
    assert export_folder(folder.path, "trl", tmp_path / "out").rows == {"train": 4, "test": 1}
    (row,) = pq.read_table(tmp_path / "out" / "test.parquet").to_pylist()
    assert row == {"prompt": [user("q 3")], "chosen": [bot("yes 3")], "rejected": [bot("no 3")]}
    with pytest.raises(PrefineError, match=r"--pairer makes rows of groups; these are examples"):
        export_folder(folder.path, "trl", tmp_path / "other", pairer="given")


def test_both_sides_of_a_pair_stand_far_from_each_other(tmp_path):
    folder = stage_of(tmp_path, [example(i) for i in range(200)])
    export_folder(folder.path, "trl_unpaired", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert len(rows) == 400 and sum(r["label"] for r in rows) == 200
    place = {}
    for k, row in enumerate(rows):
        place.setdefault(row["prompt"][0]["content"], []).append(k)
    assert all(abs(a - b) == 200 for a, b in place.values())
    # Labels are mixed from the beginning, not all true ones first.
    assert 60 < sum(r["label"] for r in rows[:200]) < 140


@pytest.mark.parametrize(
    ("to", "more", "message"),
    [
        ("trll", {}, r"unknown exporter 'trll'; did you mean 'trl'"),
        ("trl", {"view": "sft"}, r"--to trl has no view 'sft'; it has: pairs"),
        ("jsonl", {"view": "pair"}, r"no view 'pair'; did you mean 'pairs'"),
        ("trl", {"pairer": "gven"}, r"unknown pairer 'gven'; did you mean 'given'"),
        ("trl", {"pairer": "best_worst"}, r"no response has a score"),
        ("trl", {"pairer": "all_pairs", "score": "x"}, r"no response has a score by 'x'"),
        ("trl_unpaired", {"threshold": 1.0}, r"no row for the view 'unpaired' \(27 x no_score\)"),
    ],
)
def test_mistakes_are_told(tmp_path, to, more, message):
    folder = imported(tmp_path, PAIRS)
    with pytest.raises(PrefineError, match=message):
        export_folder(folder.path, to, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path):
    folder = imported(tmp_path, PAIRS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(PrefineError, match=r"out is there already"):
        export_folder(folder.path, "trl", tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "x"
