"""The view of revisions with their edits."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from prefine.cli.exporting import export_folder
from prefine.errors import PrefineError
from prefine.schema import Example, make_candidate, make_group
from tests.data.export.folders import stage_of


def groups():
    group = make_group([{"role": "user", "content": "q"}], ["old text"])
    (old,) = group.candidates
    better = replace(make_candidate(group.id, "new text", key="r"), parent=old.id)
    worse = replace(make_candidate(group.id, "odd text", key="w"), parent=old.id, generator={"role": "worsened"})
    lost = replace(make_candidate(group.id, "x", key="l"), parent="0" * 32)
    group.candidates += [better, worse, lost]
    return [group]


def test_a_revision_is_a_row_with_its_edits_and_the_better_text_second(tmp_path, tiny_model_dir):
    folder = stage_of(tmp_path, groups(), "generate")
    facts = export_folder(
        folder.path,
        "jsonl",
        tmp_path / "out",
        view="spans",
        spans=f"{{tokenizer: {tiny_model_dir}, penalty: 0.25}}",
        allow_noncommercial=True,
    )
    assert facts.dropped == {"original_not_there": 1} and facts.rows == {"train": 2}
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert [(r["initial"][0]["content"], r["revised"][0]["content"]) for r in rows] == [
        ("old text", "new text"),
        ("odd text", "old text"),
    ]
    ops = rows[0]["ops"]
    assert [(o["op"], o["initial_start"], o["initial_end"], o["initial_weight"], o["revised_weight"]) for o in ops] == [
        ("replace", 0, 3, -0.25, 1.0),
        ("equal", 3, 8, 0.0, 0.0),
    ]
    export_folder(folder.path, "hub", tmp_path / "hub", view="spans", spans=str(tiny_model_dir))
    table = pq.read_table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert table[0]["ops"][0]["initial_weight"] == -0.5 and table[0]["initial_id"] == groups()[0].candidates[0].id
    assert "edits between" in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs the model that is to learn: --spans MODEL"),
        ({"spans": "{tokenizer: m, rewards: 1}"}, "no key 'rewards'; did you mean 'reward'"),
        ({"spans": "{tokenizer: m, reward: -1}"}, "must be numbers of 0 or more"),
    ],
)
def test_bad_settings(tmp_path, settings, message):
    folder = stage_of(tmp_path, groups(), "generate")
    with pytest.raises(PrefineError, match=message):
        export_folder(folder.path, "jsonl", tmp_path / "out", view="spans", **settings)


def test_examples_have_no_revisions(tmp_path):
    texts = [[{"role": "assistant", "content": t}] for t in "ab"]
    folder = stage_of(tmp_path, [Example("e", "g", [{"role": "user", "content": "q"}], texts, ["1", "2"])])
    with pytest.raises(PrefineError, match="revisions are in groups"):
        export_folder(folder.path, "jsonl", tmp_path / "out", view="spans", spans="model")
