"""Taking files in: the same groups as reading them at once, in parts, with every row counted."""

from __future__ import annotations

import json

import pytest

from prefine.data import intake
from prefine.data.intake import import_data
from prefine.data.load import load
from prefine.data.split import split_of
from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.recipe import Data
from prefine.rundir import StageDir, run_stage
from prefine.schema import group_to_row
from tests.conftest import shared


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def taken(folder_path, *sources: Data, **more) -> StageDir:
    folder = StageDir(folder_path, "import", "0" * 64, folder_path.parent)
    run_stage(folder, {}, {}, lambda target: import_data(list(sources), target, Progress.silent(), **more))
    return folder


def by_id(groups) -> dict[str, dict]:
    return {g.id: group_to_row(g) for g in groups}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(intake, "ROWS_PER_PART", 7)
    monkeypatch.setattr(intake, "ROWS_PER_BUCKET", 5)


def pairs(n: int) -> list[dict]:
    """Rows of which every third prompt comes again later, with another answer."""
    rows = [{"prompt": f"question {i if i % 3 else i % 12}", "chosen": f"a{i}", "rejected": "b"} for i in range(n)]
    return [*rows, {"prompt": "empty", "chosen": " ", "rejected": "b"}]


def test_parts_and_buckets_give_what_reading_at_once_gives(tmp_path, small_parts):
    data = Data(path=write(tmp_path / "rows.jsonl", pairs(60)), test_fraction=0.4)
    folder = taken(tmp_path / "out", data)
    whole = load(data)
    assert len(folder.parts) > 3 and by_id(folder.groups()) == by_id(whole.groups)
    counts = folder.manifest()["counts"]
    assert (counts["rows_in"], counts["rows_out"], counts["dropped"]) == (61, 60, {"empty_response": 1})
    # Prompts 0, 3, 6 and 9 stand for twenty rows.
    assert counts["extra"]["groups"] == 44 and counts["extra"]["rows_merged_into_a_known_prompt"] == 16
    for name in ("candidates", "comparisons", "groups_train", "groups_test"):
        assert counts["extra"][name] == whole.counts.extra[name]
    assert folder.manifest()["dropped_rows"] == {"empty_response": ["rows.jsonl#60"]}
    assert sorted(p.name for p in folder.path.iterdir() if not p.name.startswith("part-")) == [
        "_SUCCESS",
        "manifest.json",
    ]


def test_prompts_that_come_once_keep_the_order_of_their_rows(tmp_path, small_parts):
    folder = taken(tmp_path / "out", Data(path=write(tmp_path / "rows.jsonl", pairs(60))))
    rows = [int(g.source["row"].split("#")[1]) for g in folder.groups() if "," not in g.source["row"]]
    assert rows == sorted(rows) and len(rows) == 40


def test_files_of_several_formats_become_one_set(tmp_path, small_parts):
    write(tmp_path / "a.jsonl", [{"prompt": f"q{i}", "chosen": "x", "rejected": "y"} for i in range(10)])
    write(tmp_path / "b.jsonl", [{"instruction": f"q{i}", "output": "z"} for i in range(5, 12)])
    folder = taken(
        tmp_path / "out", Data(path=str(tmp_path / "a.jsonl")), Data(path=str(tmp_path / "b.jsonl")), license="mit"
    )
    manifest = folder.manifest()
    assert list(manifest["formats"].values()) == ["trl_preference", "alpaca"] and manifest["licenses"] == {"mit": 12}
    both = next(g for g in folder.groups() if g.prompt == "q5")
    assert [c.text for c in both.candidates] == ["x", "y", "z"]
    assert both.source == {"dataset": "a.jsonl, b.jsonl", "license": "mit", "row": "a.jsonl#5, b.jsonl#0"}


def test_licenses_of_merged_sources_are_both_kept(tmp_path):
    write(tmp_path / "a.jsonl", [{"question": "q", "response_j": "x", "response_k": "y"}])
    safe = {"prompt": "q", "response": "z", "category": {"a": False}, "is_safe": True}
    write(tmp_path / "b.jsonl", [safe])
    folder = taken(tmp_path / "out", Data(path=str(tmp_path / "a.jsonl")), Data(path=str(tmp_path / "b.jsonl")))
    assert folder.manifest()["licenses"] == {"cc-by-sa-4.0, cc-by-nc-4.0": 1}


def test_what_was_taken_in_is_read_again_unchanged(tmp_path, small_parts):
    data = Data(path=write(tmp_path / "rows.jsonl", pairs(40)), revision="abc")
    first = taken(tmp_path / "one", data, license="cc-by-4.0")
    again = taken(tmp_path / "two", Data(path=str(tmp_path / "one")))
    assert by_id(first.groups()) == by_id(again.groups())
    assert {g.source["revision"] for g in again.groups()} == {"abc"}


@pytest.mark.parametrize("turn", [1, -1])
def test_the_split_of_a_merged_prompt_does_not_depend_on_the_order_of_its_rows(tmp_path, small_parts, turn):
    # One source sentence with two translations: each row by itself would be split by another text.
    rows = [{"translation": {"de": f"m satz {i}", "en": f"{en} {i}"}} for i in range(30) for en in ("a", "z")][::turn]
    data = Data(path=write(tmp_path / "rows.jsonl", rows), test_fraction=0.5)
    groups = list(taken(tmp_path / "out", data).groups())
    assert len(groups) == 30 and {g.split for g in groups} == {"train", "test"}
    assert all(
        g.task_meta["split_key"] == g.task_meta["source_text"].replace("m satz", "translation:a") for g in groups
    )
    assert all(g.split == split_of(g, 0.5, data.split_salt) for g in groups)
    assert {g.id: g.split for g in load(data).groups} == {g.id: g.split for g in groups}


def test_an_interrupted_import_starts_afresh(tmp_path, small_parts):
    data = Data(path=write(tmp_path / "rows.jsonl", pairs(60)))
    out = tmp_path / "out"
    bad = Data(path=write(tmp_path / "bad.jsonl", [{"prompt": "q", "chosen": " ", "rejected": "b"}] * 3))
    with pytest.raises(PrefineError, match=r"bad\.jsonl: 3 of 3 rows cannot be used"):
        taken(out, data, bad)
    assert not (out / "_SUCCESS").exists() and list(out.glob("part-*"))
    (out / "rows.tmp-import").mkdir()
    (out / "rows.tmp-import" / "part-00000.parquet").write_text("left over")
    assert by_id(taken(out, data).groups()) == by_id(load(data).groups)


def test_one_row_of_many_prompts_is_counted_once(tmp_path):
    task = {"instruction": "Do it.", "instances": [{"input": str(i), "output": "done"} for i in range(3)]}
    folder = taken(tmp_path / "out", Data(path=write(tmp_path / "rows.jsonl", [task, task])))
    counts = folder.manifest()["counts"]
    assert (counts["rows_in"], counts["rows_out"]) == (2, 2)
    assert counts["extra"]["groups"] == 3 and counts["extra"]["groups_beside_the_first_of_a_row"] == 4


def test_golden_numbers_of_hh_and_gsm8k(tmp_path):
    folder = taken(tmp_path / "hh", Data(path=str(shared("data/hh_harmless_test.jsonl.gz"))))
    manifest = folder.manifest()
    counts = manifest["counts"]
    assert (counts["rows_in"], counts["rows_out"], counts["dropped"]) == (2312, 2308, {"empty_response": 4})
    assert manifest["dropped_rows"]["empty_response"] == [
        f"hh_harmless_test.jsonl.gz#{n}" for n in (86, 516, 925, 1103)
    ]
    assert counts["extra"]["groups"] == 2306 and counts["extra"]["comparisons"] == 2308
    gsm = taken(tmp_path / "gsm", Data(path=str(shared("data/gsm8k_model_solutions.jsonl.gz"))))
    right = [[c.labels["is_correct"] for c in g.candidates] for g in gsm.groups()]
    assert (sum(map(len, right)), sum(map(sum, right))) == (5276, 2001)
    assert sum(any(r) and not all(r) for r in right) == 731
    assert sum(sum(r) * (len(r) - sum(r)) for r in right) == 2429
