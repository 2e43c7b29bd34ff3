"""LLaMA-Factory, the alignment handbook, the hub and JSON lines."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import yaml

from prefine.cli.exporting import export_folder
from prefine.data.licenses import noncommercial
from prefine.errors import PrefineError
from prefine.schema import Comparison, Example, Score, make_group
from tests.data.export.folders import imported, imported_file, known, load, stage_of
from tests.data.export.test_trl import PAIRS, SYSTEM, bot, user


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scored_groups():
    """Three prompts with two or three responses each; one score is missing and one is not finite."""
    groups = []
    for i in range(3):
        group = make_group([SYSTEM, user(f"q {i}")], [f"a{i}", f"b{i}", f"c{i}"][: 2 + i % 2], source={"dataset": "d"})
        for k, c in enumerate(group.candidates):
            c.generator["model"] = f"m{k}"
            c.scores = [Score("judge", float(k)), Score("judge", 0.5, aspect="tone")]
        group.split = "test" if i == 2 else "train"
        groups.append(group)
    groups[0].candidates[0].scores[0] = Score("judge", None, status="na")
    groups[1].candidates[0].scores[0] = Score("judge", float("nan"))
    groups[1].comparisons = [Comparison(groups[1].candidates[0].id, groups[1].candidates[1].id, "a", "someone")]
    return groups


def test_llama_factory_pairs_and_their_entry(tmp_path):
    folder = imported(tmp_path, PAIRS)
    facts = export_folder(folder.path, "llama_factory", tmp_path / "out", name="mine")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert info["mine_train"] == {
        "file_name": "mine_train.jsonl",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    }
    rows = [r for split in facts.rows for r in lines(tmp_path / "out" / info[f"mine_{split}"]["file_name"])]
    assert len(rows) == 14
    assert {
        "conversations": [
            {"from": "system", "value": "Be kind"},
            {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b"},
            {"from": "human", "value": "c"},
        ],
        "chosen": {"from": "gpt", "value": "d"},
        "rejected": {"from": "gpt", "value": "e"},
    } in rows
    files = {split: str(tmp_path / "out" / f"mine_{split}.jsonl") for split in facts.rows}
    assert load("json", tmp_path, data_files=files)["train"].num_rows == facts.rows["train"]
    (tmp_path / "back").mkdir()
    again = imported_file(tmp_path / "back", str(tmp_path / "out" / "mine_*.jsonl"), test_fraction=0.4)
    assert known(again.groups()) == known(folder.groups())


def test_llama_factory_labels_and_sft(tmp_path):
    folder = imported(tmp_path, PAIRS)
    export_folder(folder.path, "llama_factory", tmp_path / "kto", view="unpaired")
    info = json.loads((tmp_path / "kto" / "dataset_info.json").read_text())["prefine_train"]
    assert info["columns"] == {"messages": "messages", "kto_tag": "label"} and info["tags"]["user_tag"] == "user"
    rows = lines(tmp_path / "kto" / "prefine_train.jsonl") + lines(tmp_path / "kto" / "prefine_test.jsonl")
    assert len(rows) == 28 and {"messages": [user("question 0"), bot("no 0")], "label": False} in rows
    export_folder(folder.path, "llama_factory", tmp_path / "sft", view="sft", pairer="responses")
    rows = lines(tmp_path / "sft" / "prefine_train.jsonl") + lines(tmp_path / "sft" / "prefine_test.jsonl")
    assert len(rows) == 27 and {"messages": [user("question 0"), bot("no 0")]} in rows


def test_what_a_format_cannot_say_is_counted(tmp_path):
    long = [[bot("one"), user("more"), bot("two")], [bot("three")]]
    one = Example("e", "g", [user("q")], [[bot("a")], [bot("b")]], ["1", "2"])
    folder = stage_of(tmp_path, [one, Example("f", "g", [user("q")], long, ["3", "4"])])
    facts = export_folder(folder.path, "llama_factory", tmp_path / "out")
    assert facts.rows == {"train": 1} and facts.dropped == {"response_of_several_messages": 1}
    with pytest.raises(PrefineError, match=r"no row for the view 'unpaired'"):
        lists = [Example("f", "g", [user("q")], [[bot("a")], [bot("b")], [bot("c")]], ["1", "2", "3"])]
        export_folder(stage_of(tmp_path / "x", lists).path, "trl_unpaired", tmp_path / "other")


def test_a_response_is_an_sft_row_once_and_only_if_desirable(tmp_path):
    def one(name: str, texts: str, **more) -> Example:
        return Example(name, "g", [user("q")], [[bot(t)] for t in texts], list(texts), **more)

    rows = [one("1", "ab"), one("2", "ac"), one("3", "b", labels=[0.0]), one("4", "c", labels=[1.0])]
    facts = export_folder(stage_of(tmp_path, rows).path, "jsonl", tmp_path / "out", view="sft")
    assert [r["completion"] for r in lines(tmp_path / "out" / "train.jsonl")] == [[bot("a")], [bot("c")]]
    assert facts.dropped == {"response_came_before": 1, "undesirable": 1}


def test_desirable_is_above_the_threshold(tmp_path):
    folder = stage_of(tmp_path, scored_groups(), "label")
    facts = export_folder(folder.path, "trl_unpaired", tmp_path / "out", score="judge", threshold=1.0)
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert {r["completion"][0]["content"]: r["label"] for r in rows} == {"b0": False, "b1": False, "c1": True}
    assert facts.dropped == {"no_score": 2}


def test_the_alignment_handbooks_columns(tmp_path):
    folder = stage_of(tmp_path, scored_groups(), "label")
    export_folder(folder.path, "alignment_handbook", tmp_path / "out", pairer="best_worst", score="judge")
    found = load(tmp_path / "out", tmp_path)
    assert list(found) == ["test_prefs"] or set(found) == {"train_prefs", "test_prefs"}
    (row,) = found["test_prefs"]
    assert row["chosen"] == row["messages"] == [SYSTEM, user("q 2"), bot("b2")] and row["rejected"][-1] == bot("a2")
    assert (row["prompt"], row["score_chosen"], row["score_rejected"]) == ("q 2", 1.0, 0.0)
    # Of the second prompt, the response without a usable number takes no part.
    (row,) = found["train_prefs"]
    assert (row["score_chosen"], row["score_rejected"]) == (2.0, 1.0) and row["rejected"][-1] == bot("b1")
    (tmp_path / "back").mkdir()
    again = imported_file(tmp_path / "back", str(tmp_path / "out"))
    assert {g.id for g in again.groups()} == {g.id for g in scored_groups()[1:]}


@pytest.mark.acceptance(name="export_round_trip")
def test_numbers_are_numbers(tmp_path):
    folder = stage_of(tmp_path, scored_groups(), "label")
    for to in ("hub", "jsonl"):
        export_folder(folder.path, to, tmp_path / to)
    table = pq.read_table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    assert str(table.schema.field("scores_judge").type) == "list<element: double>"
    assert table["scores_judge"].to_pylist() == [[None, 1.0], [None, 1.0, 2.0]]
    assert table["models"].to_pylist()[0] == ["m0", "m1"]
    text = (tmp_path / "jsonl" / "train.jsonl").read_text()
    assert (
        "NaN" not in text
        and "N/A" not in text
        and lines(tmp_path / "jsonl" / "test.jsonl")[0]["scores_judge"] == [0, 1]
    )


@pytest.mark.parametrize("to", ["hub", "jsonl"])
def test_lists_come_back_with_all_scores_and_writers(tmp_path, to):
    groups = scored_groups()
    export_folder(stage_of(tmp_path, groups, "label").path, to, tmp_path / "out")
    (tmp_path / "back").mkdir()
    again = {g.id: g for g in imported_file(tmp_path / "back", str(tmp_path / "out")).groups()}
    assert set(again) == {g.id for g in groups}
    for g in groups:
        assert [c.id for c in again[g.id].candidates] == [c.id for c in g.candidates]
        assert [c.generator["model"] for c in again[g.id].candidates] == ["m0", "m1", "m2"][: len(g.candidates)]
    assert [c.score("judge") for c in again[groups[2].id].candidates] == [0.0, 1.0]
    assert [c.score("judge.tone") for c in again[groups[0].id].candidates] == [0.5, 0.5]


@pytest.mark.acceptance(name="other_tools")
def test_a_hub_export_loads_and_has_a_card(tmp_path):
    from huggingface_hub import DatasetCard

    beaver = [
        {"prompt": f"How {i}?", "response": f"answer {k}", "category": {"violence": k == 0}, "is_safe": k > 0}
        for i in range(12)
        for k in range(2)
    ]
    folder = imported(tmp_path, [*beaver, {**beaver[0], "response": " "}])
    with pytest.raises(PrefineError, match=r"12 prompts under cc-by-nc-4.0; .* --allow-noncommercial"):
        export_folder(folder.path, "hub", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    facts = export_folder(folder.path, "hub", tmp_path / "out", name="safe answers", allow_noncommercial=True)
    found = load(tmp_path / "out", tmp_path)
    assert {s: d.num_rows for s, d in found.items()} == facts.rows and sum(facts.rows.values()) == 12
    header = DatasetCard.load(tmp_path / "out" / "README.md").data.to_dict()
    assert header["license"] == "cc-by-nc-4.0" and header["size_categories"] == ["n<1K"]
    assert header["configs"][0]["data_files"][0] == {"split": "train", "path": "data/train-*"}
    told = header["prefine"]
    assert told["rows"] == facts.rows and told["prompts"] == 12 and told["scorers"]["human.safe"] == 24
    assert told["sources"][0]["url"].startswith("https://huggingface.co/datasets/PKU-Alignment")
    assert told["filters"] == [{"stage": "import", "dropped": {"empty_response": 1}}]
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| is_safe: false | 12 |" in text and "| import | 25 | 24 | 1 empty_response |" in text


@pytest.mark.parametrize(
    ("licenses", "wanted"),
    [
        (["mit"], {"license": "mit"}),
        (["mit", "cc-by-4.0"], {"license": ["cc-by-4.0", "mit"]}),
        (["house rules"], {"license": "other", "license_name": "house rules"}),
        ([None], {"license": "other", "license_name": "unknown"}),
    ],
)
def test_the_license_of_a_card(tmp_path, licenses, wanted):
    groups = scored_groups()
    for g, name in zip(groups, licenses * 3, strict=False):
        if name:
            g.source["license"] = name
    export_folder(stage_of(tmp_path, groups, "label").path, "hub", tmp_path / "out")
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])
    assert {k: v for k, v in header.items() if k.startswith("license")} == wanted


def test_a_pair_stage_is_under_the_license_of_its_groups(tmp_path):
    groups = scored_groups()
    groups[0].source["license"] = "CC-BY-NC-SA-4.0"
    run = tmp_path / "run"
    stage_of(run / "label", groups, "choice-1", key="1" * 64)
    example = Example("e", groups[0].id, groups[0].messages, [[bot("a")], [bot("b")]], ["1", "2"])
    pair = stage_of(run / "pair", [example], "best-1", groups="1" * 64)
    with pytest.raises(PrefineError, match=r"1 prompts under CC-BY-NC-SA-4.0"):
        export_folder(pair.path, "trl", tmp_path / "out")
    export_folder(pair.path, "trl", tmp_path / "out", allow_noncommercial=True)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cc-by-nc-4.0", True),
        ("CC BY-NC 4.0", True),
        ("cc_by_nc_sa_4.0", True),
        ("custom, non-commercial", True),
        ("mit", False),
        ("cc-by-sa-4.0", False),
        ("ncsa", False),
        ("unknown", False),
    ],
)
def test_which_licenses_forbid_commercial_use(name, wanted):
    assert noncommercial(name) is wanted
