"""Evaluation items in training prompts: by hand, and on real sets with known numbers."""

import json
import math

import numpy as np
import pytest

from prefine.errors import PrefineError
from prefine.registry import cleaners

from ...conftest import shared
from .folders import clean, group_of, pair_of

ITEM = "one two three four five six seven eight nine ten eleven twelve"


def evaluation_set(tmp_path, *texts: str, field: str = "question"):
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps({field: t, "answer": "forty two"}) + "\n" for t in texts))
    return {"path": str(path), "fields": [field]}


def test_coverage_counts_the_words_in_shared_n_grams_of_one_turn(tmp_path):
    block = {"name": "decontaminate", "against": [evaluation_set(tmp_path, ITEM)]}
    rows = {
        "whole": group_of(f"Please: {ITEM.upper()}!"),
        # The first 8 words are 8 of 12.
        "most": group_of("Say one, two three four five six seven eight -- and stop"),
        # Two 8-grams cover 9 words.
        "more": group_of("one two three four five six seven eight nine"),
        # 7 words in a row are no 8-gram.
        "less": group_of("one two three four five six seven"),
        # The words of an 8-gram in two turns are none.
        "split": group_of("one two three four"),
    }
    rows["split"].messages = [
        {"role": "user", "content": "one two three four"},
        {"role": "assistant", "content": "five six seven eight nine ten"},
        {"role": "user", "content": "eleven twelve"},
    ]
    (tmp_path / "a").mkdir()
    found = clean(tmp_path / "a", list(rows.values()), block)
    names = {g.id: name for name, g in rows.items()}
    told = {names[d.id]: d.facts for d in found.decisions if not d.keep}
    assert {name: (f["how"], f["coverage"]) for name, f in told.items()} == {
        "whole": ("ngrams", 1.0),
        "most": ("ngrams", round(8 / 12, 4)),
        "more": ("ngrams", round(9 / 12, 4)),
    }
    assert told["most"]["ngram"] == "one two three four five six seven eight"
    assert told["most"]["eval_id"] == "bench/0.question" and told["most"]["where"] == "prompt"
    strict = clean(tmp_path / "a", list(rows.values()), {**block, "threshold": 8 / 12})
    assert {names[i] for i in strict.dropped()} == {"whole", "more"}
    assert strict.told["evaluation_sets"] == {"bench": {"items": 1, "items_found": 1, "rows": 2, "share_of_rows": 0.4}}


def test_short_items_must_be_contained_and_the_shortest_equal(tmp_path):
    block = {"name": "decontaminate", "against": [evaluation_set(tmp_path, "Who wrote the Iliad?", "Say yes")]}
    (tmp_path / "a").mkdir()
    inside, apart = group_of("Tell me: who wrote the iliad, please"), group_of("who wrote about the iliad")
    equal, longer = group_of("say YES."), group_of("say yes please")
    found = clean(tmp_path / "a", [inside, apart, equal, longer], block)
    how = {d.id: d.facts["how"] for d in found.decisions if not d.keep}
    assert how == {inside.id: "contained", equal.id: "exact"}


def test_long_items_and_code_are_found_by_longer_n_grams(tmp_path):
    long = " ".join(f"w{i}" for i in range(200))
    ten = " ".join(f"w{i}" for i in range(10))
    (tmp_path / "a").mkdir()
    rows = [group_of(f"{long[:700]} and more"), group_of(" ".join(f"x {ten}" for _ in range(3)))]
    found = clean(tmp_path / "a", rows, {"name": "decontaminate", "against": [evaluation_set(tmp_path, long)]})
    assert set(found.dropped()) == {rows[0].id}
    code = {**evaluation_set(tmp_path, ITEM), "n": 12}
    rows = [group_of(ITEM.rsplit(" ", 1)[0]), group_of(f"{ITEM} thirteen")]
    found = clean(tmp_path / "a", rows, {"name": "decontaminate", "against": [code]})
    assert set(found.dropped()) == {rows[1].id}


def test_responses_are_looked_at_only_if_asked_for(tmp_path):
    block = {"name": "decontaminate", "against": [evaluation_set(tmp_path, ITEM)]}
    (tmp_path / "a").mkdir()
    rows = [
        group_of("A prompt", ITEM),
        pair_of("Another", "x", f"so {ITEM}"),
    ]
    assert not clean(tmp_path / "a", rows[:1], block, {"name": "split"}).dropped()
    for row in rows:
        other = group_of("clean", "x") if row is rows[0] else pair_of("clean", "x", "y")
        found = clean(tmp_path / "a", [row, other], {**block, "include_responses": True})
        assert found.fate(row.id) == (False, "contaminated") and found.decisions[0].facts["where"] == "response"


def test_mistakes_are_told_before_anything_is_read(tmp_path):
    (tmp_path / "a").mkdir()
    entry = evaluation_set(tmp_path, ITEM)
    with pytest.raises(PrefineError, match="no field 'questoin'; did you mean 'question'"):
        clean(
            tmp_path / "a", [group_of("x")], {"name": "decontaminate", "against": [{**entry, "fields": ["questoin"]}]}
        )
    with pytest.raises(PrefineError, match="no such file"):
        clean(tmp_path / "a", [group_of("x")], {"name": "decontaminate", "against": [{"path": "bench.jsonl"}]})
    for against, message in (
        ([], "at least one"),
        ([{"fields": ["q"]}], "needs a path"),
        ([{"path": "x", "q": 1}], "keys"),
    ):
        with pytest.raises(PrefineError, match=message):
            cleaners.check({"name": "decontaminate", "against": against})


@pytest.mark.acceptance(name="decontamination")
def test_all_gsm8k_solutions_are_found_and_hh_is_clean(tmp_path):
    from prefine.data.load import load
    from prefine.recipe import Data

    bench = shared("data/gsm8k_test.jsonl.gz")
    block = {"name": "decontaminate", "against": [{"path": str(bench), "fields": ["question", "answer"]}]}
    solutions = load(Data(path=str(shared("data/gsm8k_model_solutions.jsonl.gz")))).groups
    keep = group_of("How are you?")
    found = clean(tmp_path, [*solutions, keep], block)
    assert found.counts["dropped"] == {"contaminated": 1319} and [g.id for g in found.rows] == [keep.id]
    assert found.told["evaluation_sets"]["gsm8k_test"]["rows"] == 1319
    dialogues = load(Data(path=str(shared("data/hh_rlhf_test.jsonl.gz")))).groups
    found = clean(tmp_path, dialogues, block)
    assert found.counts["rows_out"] == len(dialogues) > 400


class Angles:
    """Says "at 30" lies at an angle of 30 degrees; the length of a vector does not count."""

    def embed(self, model, texts):
        assert model == "m"
        at = [math.radians(float(t.split()[1])) for t in texts]
        return np.array([[3 * math.cos(a), 3 * math.sin(a)] for a in at], np.float32)

    def close(self):
        pass


def test_what_means_nearly_the_same_is_flagged_and_stays(tmp_path):
    sets = evaluation_set(tmp_path, "at 0 degrees", "at 90 degrees")
    block = {"name": "decontaminate", "against": [sets], "model": "m", "similarity": math.cos(math.radians(20.5))}
    (tmp_path / "a").mkdir()
    rows = {name: group_of(f"at {name} {word}") for name, word in (("20", "x"), ("21", "x"), ("75", "x"))}
    rows["0"] = group_of("at 0 degrees")
    rows["15"] = group_of("at 15 first")
    # Of several turns the nearest one counts.
    rows["15"].messages += [{"role": "assistant", "content": "at 90"}, {"role": "user", "content": "at 85 second"}]
    found = clean(tmp_path / "a", list(rows.values()), block, models=Angles())
    names = {g.id: name for name, g in rows.items()}
    assert {names[g.id] for g in found.rows} == {"20", "21", "75", "15"}, "only the equal one is dropped"
    told = {names[d.id]: (d.reason, d.facts["eval_id"]) for d in found.decisions if d.reason}
    near = "near_evaluation_item"
    assert told == {
        "0": ("contaminated", "bench/0.question"),
        "20": (near, "bench/0.question"),
        "75": (near, "bench/1.question"),
        "15": (near, "bench/1.question"),
    }
    similar = {names[d.id]: d.facts["similarity"] for d in found.decisions if d.reason == near}
    assert similar["15"] == round(math.cos(math.radians(5)), 4)
    assert found.told["evaluation_sets"]["bench"]["rows_flagged"] == 3
    with pytest.raises(PrefineError, match="similarity must be above 0"):
        cleaners.check({**block, "similarity": 0.0})
    without = clean(tmp_path / "a", list(rows.values()), {k: v for k, v in block.items() if k != "model"})
    assert "rows_flagged" not in without.told["evaluation_sets"]["bench"]
