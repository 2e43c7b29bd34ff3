"""Splits that keep together what belongs together, and the search for what leaks."""

from prefine.data.leakage import leakage
from prefine.data.load import load
from prefine.data.split import split_of
from prefine.recipe import Data

from ..conftest import shared
from .clean.folders import clean, folder_of, group_of, pair_of

LONG = "please explain in a few words how the moon moves around the earth and why it does not fall down on it"


def dialogue(*turns: str, split: str = "train", **meta: str):
    group = group_of(turns[-1], "x", split=split, task_meta=meta)
    group.messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(turns)]
    group.id = f"{split}: {turns}"
    return group


def test_every_way_to_leak_is_found(tmp_path):
    rows = [
        dialogue("hello there", "hi", "how are you"),
        dialogue("hello there", "hi", "how are you", "fine", "and now", split="test"),
        dialogue("what now", "this", "and then", split="train"),
        dialogue("what now", split="test"),
        dialogue(LONG, root_id="r1"),
        dialogue(LONG.replace("few", "couple of"), split="test"),
        dialogue("another thing", split="test", root_id="r1"),
        dialogue("quite alone", split="test"),
        dialogue("A  b"),
        dialogue("a B", split="test"),
    ]
    found = leakage([folder_of(tmp_path / "a", rows)], threshold=0.5)
    by = {how: {e["held_out"] for e in found.examples if e["how"] == how} for how in found.found}
    assert by["prefix"] == {rows[1].id, rows[3].id, rows[9].id}
    assert by["siblings"] == {rows[6].id}
    assert by["near_duplicate"] == {rows[5].id, rows[9].id}
    assert by["same_key"] == {rows[1].id, rows[3].id, rows[9].id}
    assert found.held_out_leaked == 5 and found.share == 5 / 6
    assert found.prompts == {"train": 4, "test": 6}


def test_folders_are_compared_with_each_other_and_examples_are_known(tmp_path):
    one = folder_of(tmp_path / "a", [pair_of(LONG, "x", "y")])
    two = folder_of(tmp_path / "b", [pair_of(LONG, "x", "z", split="test"), pair_of("else", "x", "y", split="test")])
    found = leakage([one, two])
    assert found.held_out_leaked == 1 and found.found["same_group"] == 1
    assert leakage([two]).held_out_leaked == 0


def test_the_split_keeps_depths_of_one_dialogue_together(tmp_path):
    path = shared("data/hh_harmless_test.jsonl.gz")
    groups = load(Data(path=str(path), test_fraction=0.3)).groups
    found = leakage([folder_of(tmp_path / "hh", groups)], threshold=1.0)
    assert found.prompts["test"] > 300 and found.found["same_key"] == found.found["prefix"] == 0
    # By whole prompts, dialogues that continue each other would fall apart.
    contexts = [tuple(m["content"].strip() for m in g.messages) for g in groups]
    known = set(contexts)
    assert sum(any(c[:k] in known for k in range(1, len(c))) for c in contexts) > 100


def test_split_is_a_step_that_moves_rows_and_loses_none(tmp_path):
    groups = [group_of(f"prompt {k}", "x") for k in range(200)]
    found = clean(tmp_path, groups, {"name": "split", "test_fraction": 0.25, "salt": "s"})
    assert len(found.rows) == 200
    assert all(g.split == split_of(g, 0.25, "s") for g in found.rows)
    held_out = sum(g.split == "test" for g in found.rows)
    assert 30 < held_out < 70 and found.told["moved"] == {"train to test": held_out}
    more = clean(tmp_path, [*groups, group_of("new", "x")], {"name": "split", "test_fraction": 0.25, "salt": "s"})
    assert [g.split for g in more.rows[:200]] == [g.split for g in found.rows]
