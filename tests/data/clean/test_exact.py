"""Equal prompts, equal responses, contradictions."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefine.schema import Score

from .folders import clean, group_of, pair_of, prefer

EXACT = {"name": "exact_duplicates"}


def test_prompts_that_read_the_same_become_one_with_all_responses(tmp_path):
    a = group_of("What is it?", "one", "two", source={"dataset": "x", "row": "x#0"})
    b = group_of("  what IS\nit? ", "three", source={"dataset": "y", "row": "y#7"}, split="test")
    found = clean(tmp_path, [a, group_of("Another", "r"), b], EXACT)
    whole = next(g for g in found.rows if len(g.candidates) == 3)
    first = min(a.id, b.id)
    assert whole.id == first and len(found.rows) == 2
    assert whole.split == "test", "a prompt that is held out anywhere stays held out"
    assert set(whole.source["row"].split("; ")) == {"x#0", "y#7"}
    assert found.fate(max(a.id, b.id)) == (False, "duplicate_prompt")
    assert found.fate(first) == (True, "merged")
    said = next(d for d in found.decisions if not d.keep)
    assert said.facts["merged_into"] == first and said.facts["row"] in ("x#0", "y#7")
    assert (found.counts["rows_in"], found.counts["rows_out"]) == (3, 2)
    assert found.told["merged"] == {"2": 1}


def test_case_counts_where_it_is_said_to(tmp_path):
    rows = [group_of("A prompt", "x"), group_of("a PROMPT", "x")]
    assert len(clean(tmp_path, rows, EXACT).rows) == 1
    assert len(clean(tmp_path, rows, {**EXACT, "casefold": False}).rows) == 2


def test_equal_responses_are_one_and_their_scores_are_averaged(tmp_path):
    group = group_of("p", "Yes.", "yes. ", "no", scores=[1.0, 0.5, 0.0])
    group.candidates[1].scores.append(Score("length", 4.0))
    group.candidates[2].parent = max(group.candidates[0].id, group.candidates[1].id)
    prefer(group, 0, 2)
    prefer(group, 0, 1)
    found = clean(tmp_path, [group], EXACT)
    [row] = found.rows
    first = min(c.id for c in group.candidates[:2])
    assert {c.id for c in row.candidates} == {first, group.candidates[2].id}
    kept = row.candidate(first)
    assert kept.score("gold") == 0.75 and kept.score("length") == 4.0
    assert row.candidate(group.candidates[2].id).parent == first
    [left] = row.comparisons
    assert {left.a, left.b} == {first, group.candidates[2].id}
    assert found.told["parts_dropped"] == {"duplicate_response": 1, "identical_responses": 1}
    untouched = clean(tmp_path, [group], {**EXACT, "responses": False})
    assert len(untouched.rows[0].candidates) == 3


def test_of_judgements_both_ways_the_majority_stays_and_even_votes_go(tmp_path):
    group = group_of("p", "a", "b", "c")
    for judge, better, worse in (("h1", 0, 1), ("h2", 0, 1), ("h3", 1, 0), ("h1", 0, 2), ("h2", 2, 0)):
        prefer(group, better, worse, judge)
    found = clean(tmp_path, [group], EXACT)
    [row] = found.rows
    assert [c.judge for c in row.comparisons] == ["h1", "h2"]
    assert found.told["parts_dropped"] == {"contradiction": 2, "outvoted": 1}
    outvoted = next(d for d in found.decisions if d.reason == "outvoted")
    assert (outvoted.facts["for"], outvoted.facts["against"]) == (1, 2) and outvoted.group_id == group.id


def test_examples_are_dropped_but_for_one_and_contradictions_are_settled(tmp_path):
    same = pair_of("p", "good", "bad")
    again = pair_of("P", "Good", "bad")
    more = [pair_of("q", "x", "y"), pair_of("Q ", "x", "y"), pair_of("q", "y", "x")]
    even = [pair_of("r", "x", "y"), pair_of("r", "y", "x")]
    found = clean(tmp_path, [same, again, *more, *even], EXACT)
    fates = found.dropped()
    assert fates[max(same.id, again.id)] == "duplicate_example"
    assert fates[more[2].id] == "outvoted"
    assert {fates[e.id] for e in even} == {"contradiction"}
    assert len(found.rows) == 2 and found.counts["rows_in"] == 7


texts = st.sampled_from(["a", "A ", "b", "c  d", "C d", "e"])
prompts = st.lists(st.tuples(texts, st.lists(texts, max_size=3)), min_size=1, max_size=8)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts, st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_result_does_not_depend_on_order_or_parts(tmp_path, rows, rng: random.Random, parts):
    groups = [group_of(p, *texts, scores=[float(k) for k in range(3)]) for p, texts in rows]
    before = clean(tmp_path, groups, EXACT)
    shuffled = rng.sample(groups, len(groups))
    after = clean(tmp_path, shuffled, EXACT, parts=parts)
    assert sorted(map(repr, before.rows)) == sorted(map(repr, after.rows))
    assert before.counts == after.counts
    keys = [" ".join(g.prompt.casefold().split()) for g in after.rows]
    assert len(set(keys)) == len(keys) == len({" ".join(p.casefold().split()) for p, _ in rows})
    once = clean(tmp_path, after.rows, EXACT)
    assert once.rows == after.rows and not once.counts["dropped"]
