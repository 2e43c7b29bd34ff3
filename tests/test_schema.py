"""Rows survive storage unchanged, and ids depend on content alone."""

from __future__ import annotations

import copy

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.rundir import to_table
from prefine.schema import (
    Candidate,
    Comparison,
    Example,
    Group,
    Message,
    Score,
    candidate_id,
    canonical_json,
    digest,
    example_from_row,
    group_from_row,
    group_id,
    make_group,
)

ASK: list[Message] = [{"role": "user", "content": "Grüße 🌱\nwho?"}]


def full_group() -> Group:
    group = make_group(
        ASK, ["one", "two"], task="qa", task_meta={"gold": "one"}, source={"file": "a.jsonl", "row": "3"}
    )
    first, second = group.candidates
    first.scores = [
        Score("judge", 0.5),
        Score("judge", None, status="failed", rationale="no answer"),
        Score("x", 1.0, aspect="p"),
    ]
    first.labels = {"desirable": True}
    second.generator = {"model": "m", "seed": "3"}
    second.finish_reason, second.n_tokens, second.avg_logprob = "stop", 2, -0.25
    group.comparisons = [
        Comparison(first.id, second.id, "a", "human", 2.0),
        Comparison(first.id, second.id, "tie", "x"),
    ]
    return group


def through_parquet(rows, path):
    pq.write_table(to_table(rows), path)
    return pq.read_table(path).to_pylist()


def test_groups_survive_parquet(tmp_path):
    rows = [full_group(), make_group([{"role": "user", "content": "no responses"}])]
    back = [group_from_row(r) for r in through_parquet(rows, tmp_path / "g.parquet")]
    assert back == rows


def test_examples_survive_parquet(tmp_path):
    rows = [
        Example(
            "1", "g", ASK, [[{"role": "assistant", "content": "x"}]] * 3, ["a", "b", "c"], [0.3, 0.2, -1e-9], "test"
        ),
        Example("2", "h", ASK, [[{"role": "assistant", "content": ""}]]),
    ]
    assert [example_from_row(r) for r in through_parquet(rows, tmp_path / "e.parquet")] == rows


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        max_size=3,
    ),
)
def test_any_text_survives_arrow(texts, meta):
    group = make_group(ASK, texts, task_meta=meta)
    back = group_from_row(to_table([group]).to_pylist()[0])
    assert back == group


def test_open_maps_do_not_change_the_type():
    one, other = make_group(ASK, task_meta={"a": "1"}), make_group(ASK, task_meta={"b": "2", "c": "3"})
    assert to_table([one]).schema == to_table([other]).schema == to_table([one, other]).schema


def test_ids_depend_on_prompt_and_task_alone():
    base = group_id(ASK)
    assert base == group_id(copy.deepcopy(ASK)) == make_group(ASK, ["x"], source={"file": "b"}, task_meta={"k": "v"}).id
    assert group_id([{"content": ASK[0]["content"], "role": "user"}]) == base, "the order of keys does not matter"
    assert group_id(ASK, "other") != base
    assert group_id([{"role": "system", "content": "be nice"}, *ASK]) != base
    composed = [{"role": "user", "content": "Gr\u00fc\u00dfe"}]
    decomposed = [{"role": "user", "content": "Gru\u0308\u00dfe"}]
    assert group_id(composed) == group_id(decomposed), "two spellings of one text in Unicode are one prompt"


def test_ids_of_candidates_tell_groups_texts_and_writers_apart():
    said: list[Message] = [{"role": "assistant", "content": "x"}]
    ids = [candidate_id("g", said), candidate_id("h", said), candidate_id("g", said, "sample 2")]
    ids.append(candidate_id("g", [{"role": "assistant", "content": "y"}]))
    assert len(set(ids)) == 4 and all(len(i) == 32 for i in ids)


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 1, "a": None, "c": (1, 2)}) == '{"b":1,"c":[1,2]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
    assert digest("\ud800") == digest("\ud800"), "a lone surrogate has a digest as well"


def test_the_latest_score_counts():
    candidate = Candidate(
        "1", [], scores=[Score("a", 1.0), Score("b", 3.0), Score("a", 2.0), Score("a", 9.0, aspect="p")]
    )
    assert candidate.score("a") == 2.0
    assert candidate.score("a", "p") == 9.0
    assert candidate.score("c") is None


def test_text_and_prompt_and_look_up():
    group = full_group()
    assert group.prompt == "Grüße 🌱\nwho?"
    assert group.candidate(group.candidates[1].id).text == "two"
    two_turns = Candidate(
        "1",
        [
            {"role": "assistant", "content": "a"},
            {"role": "tool", "content": "t"},
            {"role": "assistant", "content": "b"},
        ],
    )
    assert two_turns.text == "a\n\nb"
    with pytest.raises(KeyError):
        group.candidate("nobody")


def test_files_from_before_judges_kept_their_replies_are_read(tmp_path):
    group = full_group()
    table = to_table([group])
    row = table.to_pylist()[0]
    for c in row["candidates"]:
        for score in c["scores"]:
            del score["refs"], score["place"]
    for comparison in row["comparisons"]:
        del comparison["orders"], comparison["rationale"], comparison["refs"]
    assert group_from_row(row) == group
    group.candidates[0].scores[0].refs, group.candidates[0].scores[0].place = ["k1", "k2"], 3
    first = group.comparisons[0]
    first.orders, first.refs, first.rationale = [0.75, None], ["k3"], "why"
    assert [group_from_row(r) for r in through_parquet([group], tmp_path / "g.parquet")] == [group]
