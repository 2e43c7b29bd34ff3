"""The pair stage: counts of prompts, resumption, real data."""

import random

import pytest

from prefine.errors import PrefineError
from prefine.pair.stage import build, run
from prefine.progress import Progress
from prefine.recipe import Data, Model, Pair, Recipe
from prefine.rundir import RunDir
from prefine.schema import Score, make_group

from ..conftest import shared


def scored(n: int):
    groups = []
    for i in range(n):
        group = make_group([{"role": "user", "content": f"prompt {i}"}], ["good", "bad", "ugly"][: i % 4])
        group.split = "test" if i % 5 == 0 else "train"
        for c, value in zip(group.candidates, (1.0, 0.5, 0.5), strict=False):
            c.scores = [Score("gold", value)]
        groups.append(group)
    return groups


@pytest.fixture
def folders(tmp_path):
    directory = RunDir(tmp_path / "run")
    source, target = directory.stage("label", "x", "1" * 64), directory.stage("pair", "y", "2" * 64)
    source.start()
    target.start()
    return source, target


def recipe_with(**section) -> Recipe:
    return Recipe(name="r", model=Model(path="m"), data=Data(path="d"), pair=Pair(**section))


def test_prompts_balance_and_examples_are_counted(folders):
    source, target = folders
    source.write_part(scored(20))
    counts, facts = run(recipe_with(), target, source, Progress.silent())
    # Of 20 prompts 5 have no response, 5 have one, 10 have two or three.
    assert counts.as_dict()["rows_in"] == 20
    assert (counts.rows_out, counts.dropped) == (10, {"no_responses": 5, "fewer_than_2_distinct_responses": 5})
    assert counts.extra["examples"] == 10 == len(list(target.examples()))
    assert facts["score"] == {"gold": 1.0}
    assert facts["gap"]["mean"] == 0.5
    assert sum(facts["splits"].values()) == 10
    assert {e.split for e in target.examples()} == {"train", "test"}


def test_the_order_of_rows_does_not_matter():
    rows = scored(40)
    before = build(Pair(pairer={"name": "best_random"}), rows, Progress.silent())[0]
    random.Random(1).shuffle(rows)
    for group in rows:
        random.Random(2).shuffle(group.candidates)
    assert build(Pair(pairer={"name": "best_random"}), rows, Progress.silent())[0] == before


def test_an_interrupted_stage_keeps_its_parts(folders, monkeypatch):
    source, target = folders
    source.write_part(scored(20))
    whole, _, _ = build(Pair(pairer={"name": "all_pairs"}), scored(20), Progress.silent())
    first = [e for e in whole if e.group_id <= whole[3].group_id]
    target.write_part(first)
    counts, _ = run(recipe_with(pairer={"name": "all_pairs"}), target, source, Progress.silent())
    assert len(target.parts) == 2
    assert list(target.examples()) == whole
    assert counts.extra["examples"] == len(whole)
    monkeypatch.setattr("prefine.pair.stage.PART", 2)
    run(recipe_with(pairer={"name": "all_pairs"}), target, source, Progress.silent())
    assert list(target.examples()) == whole


def test_no_examples_at_all_is_an_error_with_the_reasons(folders):
    source, target = folders
    source.write_part(scored(3))
    with pytest.raises(PrefineError, match="gap_below_min_gap: 1, no_responses: 1"):
        run(recipe_with(pairer={"name": "best_worst", "min_gap": 9.0}), target, source, Progress.silent())


def test_given_needs_no_scores(folders):
    source, target = folders
    groups = [make_group([{"role": "user", "content": "q"}], ["a", "b"])]
    source.write_part(groups)
    with pytest.raises(PrefineError, match="no response has a score"):
        run(recipe_with(), target, source, Progress.silent())
    with pytest.raises(PrefineError, match="no_comparisons: 1"):
        run(recipe_with(pairer={"name": "given"}), target, source, Progress.silent())
    counts, _ = run(recipe_with(pairer={"name": "responses"}), target, source, Progress.silent())
    assert counts.extra["examples"] == 2


@pytest.mark.acceptance(name="gsm8k_golden_numbers")
def test_golden_numbers_of_the_gsm8k_solutions():
    path = shared("data/gsm8k_model_solutions.jsonl.gz")
    from prefine.data.load import load

    groups = load(Data(path=str(path))).groups
    examples, counts, _ = build(Pair(pairer={"name": "all_pairs"}), groups, Progress.silent())
    assert (counts.rows_in, counts.rows_out, len(examples)) == (1319, 731, 2429)
    lists, counts, facts = build(Pair(pairer={"name": "ranked"}), groups, Progress.silent())
    assert (counts.rows_out, len(lists), facts["sizes"]) == (731, 731, {"3": 2, "4": 729})


def test_many_rows_in_any_parts_give_the_same_examples_in_order(folders, monkeypatch):
    source, target = folders
    rows = scored(90)
    random.Random(0).shuffle(rows)
    for start in range(0, 90, 20):
        source.write_part(rows[start : start + 20])
    monkeypatch.setattr("prefine.ordering.ROWS_PER_BUCKET", 7)
    monkeypatch.setattr("prefine.ordering.READ_AT_ONCE", 3)
    counts, facts = run(recipe_with(), target, source, Progress.silent())
    whole, counted, told = build(Pair(), rows, Progress.silent())
    assert list(target.examples()) == whole and len(whole) == 44
    assert counts.as_dict() == counted.as_dict() and facts == told


def test_facts_of_ties_and_lengths():
    groups = scored(4)[3:]
    for c, value in zip(groups[0].candidates, (0.5, 0.5, 0.0), strict=True):
        c.scores = [Score("gold", value)]
    _, _, facts = build(Pair(pairer={"name": "all_pairs", "ties": "random"}), groups, Progress.silent())
    assert facts["gap"] == {"mean": round(1 / 3, 6), "quartiles": [0.0, 0.0, 0.5, 0.5, 0.5], "ties": 1}
    assert facts["words"] == {"first": 1.0, "last": 1.0} and facts["first_is_longer"] == 0.0
