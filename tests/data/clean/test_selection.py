"""DEITA, k-center, the best and a random few."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.data.clean.budget import unit
from prefine.data.clean.deita import select
from prefine.data.clean.measures import measure
from prefine.errors import PrefineError
from prefine.registry import cleaners
from prefine.schema import Score

from .folders import clean, group_of, pair_of

# By angle: 0 and 10 degrees are alike (cos 0.985), as are 90 and 100; 45 is apart from all (cos 0.707 and 0.819).
ANGLES = [0, 10, 45, 90, 100, 180]
VECTORS = [[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in ANGLES]


def rows_with(tmp_path, scores: list[float | None], vectors=VECTORS):
    """Groups of one response each, with scores, and a file with a vector for each."""
    groups = [group_of(f"prompt {k}", "x", scores=[s]) for k, s in enumerate(scores)]
    file = tmp_path / "vectors.parquet"
    table = {"id": [g.id for g in groups][::-1], "embedding": [list(map(float, v)) for v in vectors][::-1]}
    pq.write_table(pa.table(table), file)
    return groups, str(file)


@pytest.mark.acceptance(name="deita")
def test_six_vectors_by_hand(tmp_path):
    groups, file = rows_with(tmp_path, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    block = {"name": "deita", "complexity": "one", "embeddings": file, "threshold": 0.9, "size": 4}
    found = clean(tmp_path, groups, block)
    assert [groups.index(g) for g in found.rows] == [0, 2, 3, 5]
    fates = found.dropped()
    assert fates == {groups[1].id: "too_similar", groups[4].id: "too_similar"}
    told = {d.id: d.facts for d in found.decisions}
    assert told[groups[1].id]["similar_to"] == groups[0].id
    assert told[groups[1].id]["cosine"] == pytest.approx(np.cos(np.radians(10)), abs=1e-8)
    assert told[groups[0].id]["score"] == 6.0
    # A smaller budget ends it; a lower threshold lets 45 degrees go, so that 180 is taken third.
    assert [groups.index(g) for g in clean(tmp_path, groups, {**block, "size": 2}).rows] == [0, 2]
    low = clean(tmp_path, groups, {**block, "threshold": 0.7, "size": 3})
    assert [groups.index(g) for g in low.rows] == [0, 3, 5]


def naive(vectors: np.ndarray, threshold: float, budget: int) -> list[int]:
    taken: list[int] = []
    for k, v in enumerate(vectors):
        if len(taken) < budget and all(round(float(v @ vectors[t]), 9) <= threshold for t in taken):
            taken.append(k)
    return taken


@pytest.mark.acceptance(name="deita")
@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 120), st.sampled_from([0.3, 0.8, 0.95]), st.integers(1, 60))
def test_the_size_of_blocks_changes_nothing(seed, n, threshold, budget):
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(n, 3)))
    wanted = naive(vectors, threshold, budget)
    for block in (1, 7, 64, 1000):
        told = select(vectors, threshold, budget, block)
        assert [k for k, found in enumerate(told) if found is not None and found[0] < 0] == wanted
        for k, found in enumerate(told):
            if found is not None and found[0] >= 0:
                assert found[0] in wanted and found[0] < k and found[1] > threshold


def test_rows_without_a_score_are_dropped_with_the_reason(tmp_path):
    groups, file = rows_with(tmp_path, [6.0, None, 4.0, 3.0, 2.0, 1.0])
    found = clean(tmp_path, groups, {"name": "deita", "embeddings": file, "size": 1.0})
    assert found.fate(groups[1].id) == (False, "no_quality")
    block = {"name": "deita", "embeddings": file, "size": 1.0, "complexity": "judge.complexity"}
    for g in groups[2:]:
        g.candidates[0].scores.append(Score("judge", 2.0, aspect="complexity"))
    found = clean(tmp_path, groups, {**block, "quality": "gold"})
    assert found.counts["dropped"]["no_complexity"] == 2
    assert next(d for d in found.decisions if d.id == groups[2].id).facts["score"] == 8.0


def test_vectors_come_from_a_file_that_has_them_all_or_from_a_model(tmp_path):
    groups, file = rows_with(tmp_path, [1.0] * 6)
    with pytest.raises(PrefineError, match="1 of 7 rows have no embedding"):
        clean(tmp_path, [*groups, group_of("new", "x")], {"name": "k_center", "size": 2, "embeddings": file})
    with pytest.raises(PrefineError, match="there is no file"):
        clean(tmp_path, groups, {"name": "k_center", "size": 2, "embeddings": str(tmp_path / "none")})

    class Model:
        def embed(self, model, texts):
            assert model == "m" and all(t.endswith("\nx") for t in texts)
            return np.array([VECTORS[int(t.split()[1])] for t in texts])

        def close(self):
            pass

    block = {"name": "deita", "complexity": "one", "threshold": 0.9, "size": 1.0}
    by_model = clean(tmp_path, groups, {**block, "model": "m"}, models=Model())
    by_file = clean(tmp_path, groups, {**block, "embeddings": file})
    assert {g.id for g in by_model.rows} == {g.id for g in by_file.rows} and len(by_model.rows) == 4


def test_the_mean_of_hidden_states_does_not_depend_on_the_batch(tiny_model_dir):
    import torch

    from prefine.models.text_vectors import TextModels

    models = TextModels()
    texts = ["abc", "a longer text with more tokens", ""]
    found = models.embed(str(tiny_model_dir), texts)
    alone = np.concatenate([models.embed(str(tiny_model_dir), [t]) for t in texts])
    assert found.shape == (3, 32) and not found[2].any()
    np.testing.assert_allclose(found, alone, atol=1e-5)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    ids = torch.tensor([tokenizer("abc", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states[-1][0]
    np.testing.assert_allclose(found[0], hidden.mean(0).numpy(), atol=1e-5)
    assert models.token_counter(str(tiny_model_dir))("abc") == 3
    models.close()


def test_k_center_takes_the_farthest_each_time(tmp_path):
    groups, file = rows_with(tmp_path, [1.0] * 6)
    found = clean(tmp_path, groups, {"name": "k_center", "size": 3, "embeddings": file})
    taken = [ANGLES[groups.index(g)] for g in found.rows]
    order = {d.id: d.facts.get("distance", 9.0) for d in found.decisions if d.keep}
    first, *others = sorted(taken, key=lambda a: -order[groups[ANGLES.index(a)].id])
    known = [first]
    for a in others:
        reach = {b: min(1 - np.cos(np.radians(b - c)) for c in known) for b in ANGLES if b not in known}
        assert reach[a] == pytest.approx(max(reach.values()))
        known.append(a)
    again = clean(tmp_path, groups[::-1], {"name": "k_center", "size": 3, "embeddings": file}, parts=2)
    assert {g.id for g in again.rows} == {g.id for g in found.rows}


def test_top_score_takes_the_best_and_says_why_others_are_left(tmp_path):
    groups = [
        group_of(str(k), "x", "y", scores=s) for k, s in enumerate([[1.0, 5.0], [3.0, 3.0], [None, None], [4.0, 1.0]])
    ]
    found = clean(tmp_path, groups, {"name": "top_score", "size": 2})
    assert [groups.index(g) for g in found.rows] == [0, 3]
    assert found.dropped() == {groups[1].id: "beyond_budget", groups[2].id: "no_score"}
    margin = clean(tmp_path, groups, {"name": "top_score", "size": 1, "score": "margin"})
    assert [groups.index(g) for g in margin.rows] == [0]


def test_measures_of_groups_and_examples():
    group = group_of("Write at least 3 words, then stop.", "a", "b", scores=[0.5, 2.0])
    assert measure(group, "words") == 7 and measure(group, "constraints") == 4
    assert measure(group, "score") == measure(group, "gold") == 2.0 and measure(group, "margin") == 1.5
    assert measure(group, "other") is None and measure(group, "one") == 1.0
    example = pair_of("p", "a", "b", [3.0, 1.0])
    assert measure(example, "score") == 3.0 and measure(example, "margin") == 2.0
    assert measure(example, "gold") is None and measure(pair_of("p", "a", "b"), "margin") is None


def test_a_random_tenth_is_part_of_a_random_fifth_in_any_order(tmp_path):
    rows = [group_of(str(k)) for k in range(200)] + [group_of("held out", split="test")]
    tenth = clean(tmp_path, rows, {"name": "random", "size": 0.1})
    fifth = clean(tmp_path, random.Random(0).sample(rows, len(rows)), {"name": "random", "size": 0.2}, parts=4)
    a, b = {g.id for g in tenth.rows}, {g.id for g in fifth.rows}
    assert (len(a), len(b)) == (21, 41) and a < b and rows[-1].id in a
    other = clean(tmp_path, rows, {"name": "random", "size": 0.1, "seed": 1})
    assert {g.id for g in other.rows} != a
    more = clean(tmp_path, rows, {"name": "random", "size": 1000})
    assert len(more.rows) == 201


@pytest.mark.acceptance(name="deita")
@pytest.mark.parametrize("name", ["random", "top_score", "deita", "k_center"])
def test_a_size_is_a_number_of_rows_or_a_share(name):
    more = {"embeddings": "x"} if name in ("deita", "k_center") else {}
    for wrong in ({}, {"size": 0}, {"size": 0.0}, {"size": 1.5}, {"size": "half"}):
        with pytest.raises(PrefineError, match="size"):
            cleaners.check({"name": name, **more, **wrong})
    assert cleaners.check({"name": name, **more, "size": 3})["size"] == 3
    if more:
        with pytest.raises(PrefineError, match="needs either model or embeddings"):
            cleaners.check({"name": name, "size": 3})
