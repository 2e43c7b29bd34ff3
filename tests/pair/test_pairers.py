"""The strategies: hand-made groups, and properties that hold for all of them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.pair.base import Pairer
from prefine.registry import pairers
from prefine.schema import Comparison, Group, Score, make_candidate, make_group

SCORED = [
    {"name": "best_worst"},
    {"name": "best_random"},
    {"name": "max_margin"},
    {"name": "max_margin", "max_length_ratio": 1.5},
    {"name": "all_pairs"},
    {"name": "all_pairs", "duplicates": "collapse", "max_pairs": 2},
    {"name": "ranked"},
    {"name": "adjacent"},
    {"name": "best_rest"},
    {"name": "top_bottom", "k": 1},
    {"name": "random_pair"},
]
WITH_TIES = ["best_worst", "all_pairs", "adjacent", "random_pair"]


def group_of(texts: list[str], prompt: str = "why?") -> Group:
    group = make_group([{"role": "user", "content": prompt}])
    group.candidates = [make_candidate(group.id, t, key=str(i)) for i, t in enumerate(texts)]
    return group


def texts_of(example) -> list[str]:
    return [r[0]["content"] for r in example.responses]


def build(name: str, **settings) -> Pairer:
    return pairers.build({"name": name, **settings})


def test_best_worst_takes_the_ends():
    [found], reason = build("best_worst").pairs(group_of(["a", "b", "c"]), [0.5, 2.0, -1.0])
    assert reason is None
    assert texts_of(found) == ["b", "c"]
    assert found.scores == [2.0, -1.0]


@pytest.mark.acceptance(name="binarize")
def test_best_random_draws_among_the_strictly_worse():
    group, scores = group_of(["a", "b", "c", "d"]), [1.0, 1.0, 0.2, 0.9]
    seen = set()
    for seed in range(40):
        [found], _ = build("best_random", seed=seed, min_gap=0.05).pairs(group, scores)
        seen.add(tuple(texts_of(found)))
    assert seen == {(a, b) for a in "ab" for b in "cd"}


def test_max_margin_keeps_to_similar_lengths():
    group = group_of(["one two three four five six seven eight nine", "one two three", "four five", "x"])
    [found], _ = build("max_margin", max_length_ratio=1.5).pairs(group, [9.0, 3.0, 2.0, 0.0])
    # 9 words against 3, 3 against 1 and 2 against 1 are too far apart: only 3 against 2 is left.
    assert texts_of(found) == ["one two three", "four five"]
    lonely = group_of(["one two three four", "one"])
    assert build("max_margin", max_length_ratio=1.5).pairs(lonely, [1.0, 0.0]) == ([], "no_pair_of_similar_length")


def test_all_pairs_counts_each_better_over_each_worse():
    found, _ = build("all_pairs").pairs(group_of(["a", "b", "c", "d"]), [1.0, 1.0, 0.0, 0.0])
    assert {tuple(texts_of(e)) for e in found} == {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")}
    assert len({e.id for e in found}) == 4
    capped, _ = build("all_pairs", max_pairs=3).pairs(group_of(["a", "b", "c", "d"]), [3.0, 2.0, 1.0, 0.0])
    assert len(capped) == 3


def test_a_text_sampled_twice_counts_twice_or_once():
    group, scores = group_of(["a", "a ", "b"]), [1.0, 0.5, 0.0]
    kept, _ = build("all_pairs").pairs(group, scores)
    assert sorted(map(tuple, map(texts_of, kept))) == [("a", "b"), ("a ", "b")]
    [once], _ = build("all_pairs", duplicates="collapse").pairs(group, scores)
    assert once.scores == [0.75, 0.0]


def test_ranked_keeps_the_list_with_its_scores():
    [found], _ = build("ranked").pairs(group_of(["a", "b", "c", "d"]), [0.1, None, 0.9, 0.1])
    assert texts_of(found)[0] == "c"
    assert set(texts_of(found)[1:]) == {"a", "d"}
    assert found.scores == [0.9, 0.1, 0.1]


def test_ranked_can_demand_that_the_teacher_accepts_one_and_rejects_one():
    pairer = build("ranked", accepts_and_rejects=True)

    def outcome(*p: float | None):
        group = group_of(["a", "b", "c"][: len(p)])
        for c, value in zip(group.candidates, p, strict=True):
            c.scores = [Score("choice", 0.0), Score("choice", value, aspect="p")]
        return pairer.pairs(group, [float(i) for i in range(len(p))])[1]

    assert outcome(0.7, 0.5, 0.2) is None
    assert outcome(0.5, 0.4, 0.2) == "teacher_accepts_none"
    assert outcome(0.9, 0.6, 0.51) == "teacher_rejects_none"
    assert outcome(None, None, None) == "no_choice_probability"


@pytest.mark.acceptance(name="binarize")
@pytest.mark.parametrize("block", SCORED, ids=lambda b: "-".join(map(str, b.values())))
def test_reasons(block):
    pairer = pairers.build(block)
    assert pairer.pairs(group_of([]), []) == ([], "no_responses")
    assert pairer.pairs(group_of(["a", " a"]), [0.0, 1.0]) == ([], "fewer_than_2_distinct_responses")
    assert pairer.pairs(group_of(["a", "b"]), [1.0, None]) == ([], "fewer_than_2_scored_responses")
    assert pairer.pairs(group_of(["a", "b"]), [1.0, float("nan")]) == ([], "fewer_than_2_scored_responses")
    assert pairer.pairs(group_of(["a", " "]), [1.0, 0.0]) == ([], "fewer_than_2_scored_responses")
    assert pairer.pairs(group_of(["a", "b", "c"]), [1.0, 1.0, 1.0]) == ([], "all_scores_equal")
    assert pairers.build({**block, "min_gap": 0.5}).pairs(group_of(["a", "b"]), [1.0, 0.6]) == ([], "gap_below_min_gap")


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "b ", "c d", "e f g", ""]), st.sampled_from([None, 0.0, 0.1, 1.0]))
)


@pytest.mark.acceptance(name="binarize")
@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from(SCORED), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 3), st.randoms())
def test_pairs_do_not_depend_on_order_and_are_never_ties(rows, block, min_gap, seed, rng: random.Random):
    group = group_of([text for text, _ in rows])
    scores = [score for _, score in rows]
    pairer = pairers.build({**block, "min_gap": min_gap, "seed": seed})
    found, reason = pairer.pairs(group, scores)
    assert bool(found) == (reason is None)
    order = rng.sample(range(len(rows)), len(rows))
    shuffled = group_of([])
    shuffled.candidates = [group.candidates[i] for i in order]
    assert pairer.pairs(shuffled, [scores[i] for i in order]) == (found, reason)
    for e in found:
        assert e.scores == sorted(e.scores, reverse=True)
        assert e.scores[0] - e.scores[-1] >= min_gap
        assert e.scores[0] > e.scores[-1]
        assert len({" ".join(t.split()) for t in texts_of(e)}) == len(e.responses)
        assert all(t.strip() for t in texts_of(e))


def test_given_follows_the_majority_and_drops_even_votes():
    group = group_of(["a", "b", "c"])
    a, b, c = (x.id for x in group.candidates)
    group.comparisons = [
        Comparison(a, b, "a", "h1"),
        Comparison(b, a, "b", "h2"),
        Comparison(a, b, "b", "h3"),
        Comparison(a, c, "a", "h1"),
        Comparison(a, c, "b", "h2"),
        Comparison(b, c, "tie", "h1"),
    ]
    found, reason = build("given").pairs(group, [None] * 3)
    assert [texts_of(e) for e in found] == [["a", "b"]]
    assert reason is None
    assert found[0].scores == []
    assert build("given").pairs(group, [0.1, 0.2, 0.3])[0][0].scores == [0.1, 0.2]


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [("ab", "contradictory"), ("t", "tie"), ("i", "no_usable_comparison"), ("", "no_comparisons")],
)
def test_given_says_why_there_is_no_pair(outcomes, reason):
    group = group_of(["x", "y"])
    words = {"a": "a", "b": "b", "t": "tie", "i": "invalid"}
    group.comparisons = [Comparison(*(c.id for c in group.candidates), words[o], "h") for o in outcomes]
    assert build("given").pairs(group, [None, None]) == ([], reason)


def test_given_does_not_pair_equal_texts():
    group = group_of(["x", "x "])
    group.comparisons = [Comparison(*(c.id for c in group.candidates), "a", "h")]
    assert build("given").pairs(group, [None, None]) == ([], "fewer_than_2_distinct_responses")


def test_responses_are_single_rows():
    group = group_of(["a", "b", "b", " "])
    for c, label in zip(group.candidates, (True, False, False, True), strict=True):
        c.labels = {"desirable": label}
    found, _ = build("responses").pairs(group, [None] * 4)
    assert sorted(texts_of(e)[0] for e in found) == ["a", "b"]
    assert [texts_of(e) for e in build("responses", which="desirable").pairs(group, [None] * 4)[0]] == [["a"]]
    assert [texts_of(e) for e in build("responses", which="best").pairs(group, [0.0, 2.0, 1.0, 9.0])[0]] == [["b"]]
    assert build("responses").pairs(group_of([" "]), [None]) == ([], "only_empty_responses")


def test_adjacent_pairs_neighbors_in_the_ranking():
    found, _ = build("adjacent", min_gap=0.2).pairs(group_of(["a", "b", "c", "d"]), [0.1, 1.0, 0.5, 0.45])
    assert {tuple(texts_of(e)) for e in found} == {("b", "c"), ("d", "a")}


def test_best_rest_has_one_chosen_and_many_rejected():
    found, _ = build("best_vs_rest").pairs(group_of(["a", "b", "c", "d"]), [1.0, 0.5, 1.0, 0.0])
    assert len({texts_of(e)[0] for e in found}) == 1 and {texts_of(e)[1] for e in found} == {"b", "d"}


def test_top_bottom_crosses_the_ends():
    group, scores = group_of(["a", "b", "c", "d", "e"]), [5.0, 4.0, 3.0, 2.0, 1.0]
    found, _ = build("top_bottom").pairs(group, scores)
    assert {tuple(texts_of(e)) for e in found} == {("a", "d"), ("a", "e"), ("b", "d"), ("b", "e")}
    assert build("top_bottom", k=3).pairs(group, scores) == ([], "fewer_than_2k_scored_responses")
    flat, _ = build("top_bottom").pairs(group_of(["a", "b", "c", "d"]), [1.0, 0.0, 0.0, 0.0])
    assert {texts_of(e)[0] for e in flat} == {"a"} and len(flat) == 2


def test_threshold_leaves_out_what_lies_between():
    pairer, group = build("threshold", high=0.8, low=0.2), group_of(["a", "b", "c", "d"])
    found, _ = pairer.pairs(group, [0.9, 0.8, 0.5, 0.2])
    assert {tuple(texts_of(e)) for e in found} == {("a", "d"), ("b", "d")}
    assert pairer.pairs(group, [0.7, 0.6, 0.1, 0.2]) == ([], "none_above_high")
    assert pairer.pairs(group, [0.9, 0.6, 0.3, 0.9]) == ([], "none_below_low")
    with pytest.raises(PrefineError, match="low must be below high"):
        build("threshold", high=0.2, low=0.2)


def test_random_pair_draws_each_pair_and_orders_it():
    group, scores = group_of(["a", "b", "c"]), [0.0, 2.0, 1.0]
    seen = {tuple(texts_of(build("random_pair", seed=s).pairs(group, scores)[0][0])) for s in range(60)}
    assert seen == {("b", "a"), ("b", "c"), ("c", "a")}


def played(group: Group, *matches: str, judge: str = "duel") -> Group:
    """Add comparisons such as `a>b` and `a=c`, in this order."""
    ids = {c.text: c.id for c in group.candidates}
    for m in matches:
        group.comparisons.append(Comparison(ids[m[0]], ids[m[2]], {">": "a", "<": "b", "=": "tie"}[m[1]], judge))
    return group


@pytest.mark.parametrize(
    ("matches", "rejected", "pair"),
    [
        (["a>b", "a<c", "c>d"], "last_loser", ["c", "d"]),
        (["a>b", "a<c", "c>d"], "first_eliminated", ["c", "b"]),
        (["a>b", "a<c", "c>d"], "lowest_score", ["c", "a"]),
        (["a>b", "a=c", "d>a"], "last_loser", ["d", "a"]),
        (["a=b", "a>c"], "last_loser", ["a", "c"]),
    ],
)
def test_champion_against_one_of_the_losers(matches, rejected, pair):
    group = played(group_of(["a", "b", "c", "d"]), *matches)
    found, reason = build("champion", rejected=rejected).pairs(group, [0.1, 0.5, 0.2, 0.9])
    assert reason is None and texts_of(found[0]) == pair


def test_champion_needs_a_winner_whom_nobody_has_beaten():
    champion = build("champion")
    assert champion.pairs(group_of(["a", "b"]), [None, None]) == ([], "no_comparisons")
    circle = played(group_of(["a", "b", "c"]), "a>b", "b>c", "c>a")
    assert champion.pairs(circle, [None] * 3) == ([], "no_champion")
    even = played(group_of(["a", "b", "c", "d"]), "a>b", "c>d")
    assert champion.pairs(even, [None] * 4) == ([], "no_champion")
    audited = played(played(group_of(["a", "b", "c"]), "a>b", "a>c"), "b>a", judge="duel:audit")
    assert texts_of(champion.pairs(audited, [None] * 3)[0][0]) == ["a", "c"]
    other = build("champion", judge="duel:audit").pairs(audited, [None] * 3)[0][0]
    assert texts_of(other) == ["b", "a"]
    random_losers = {
        texts_of(build("champion", rejected="random_loser", seed=s).pairs(audited, [None] * 3)[0][0])[1]
        for s in range(20)
    }
    assert random_losers == {"b", "c"}


@pytest.mark.parametrize("name", WITH_TIES)
def test_ties_make_a_pair_only_if_they_may(name):
    group, scores = group_of(["one two three", "one", "one two"]), [1.0, 1.0, 1.0]
    assert build(name).pairs(group, scores) == ([], "all_scores_equal")
    for ties, right in (("shorter", lambda a, b: a < b), ("longer", lambda a, b: a > b)):
        found, _ = build(name, ties=ties).pairs(group, scores)
        assert found and all(right(*(len(t.split()) for t in texts_of(e))) for e in found)
    for ties in ("random", "keep_soft"):
        found, _ = build(name, ties=ties).pairs(group, scores)
        assert all(e.scores == [1.0, 1.0] and len(set(texts_of(e))) == 2 for e in found) and found
    firsts = {
        texts_of(build(name, ties="random", seed=s).pairs(group_of(["x", "y"]), [0.0, 0.0])[0][0])[0] for s in range(20)
    }
    assert firsts == {"x", "y"}
    with pytest.raises(PrefineError, match="min_gap must be 0 with ties random"):
        build(name, ties="random", min_gap=0.1)


@pytest.mark.acceptance(name="binarize")
@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from(WITH_TIES), st.sampled_from(["random", "shorter", "longer"]), st.randoms())
def test_ties_do_not_depend_on_order_and_never_turn_a_gap_round(rows, name, ties, rng: random.Random):
    group, scores = group_of([text for text, _ in rows]), [score for _, score in rows]
    pairer = build(name, ties=ties)
    found, reason = pairer.pairs(group, scores)
    order = rng.sample(range(len(rows)), len(rows))
    shuffled = group_of([])
    shuffled.candidates = [group.candidates[i] for i in order]
    assert pairer.pairs(shuffled, [scores[i] for i in order]) == (found, reason)
    assert all(e.scores[0] >= e.scores[1] and len({" ".join(t.split()) for t in texts_of(e)}) == 2 for e in found)


def test_soft_ties_are_for_objectives_that_make_labels_of_scores(tmp_path):
    import torch

    from prefine.objectives.base import Responses
    from prefine.recipe.file import RecipeError, load_recipe
    from prefine.registry import objectives

    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "responses": ["b", "c"], "scores": [1, 1]}\n')
    file = tmp_path / "r.yaml"
    file.write_text(
        f"name: r\nmodel: {{path: tiny-student}}\ndata: {{path: {tmp_path / 'rows.jsonl'}}}\n"
        "pair: {pairer: {name: all_pairs, ties: keep_soft}}\ntrain: {objective: {name: mpo}}\n"
    )
    load_recipe(file)
    with pytest.raises(RecipeError, match=r"r.yaml:4: pair.pairer.ties: the objective 'dpo' makes no labels"):
        load_recipe(file, ["train.objective.name=dpo"])
    # With equal scores the label is one half: the loss is the same whichever side is called chosen.
    mpo, logps = objectives.build({"name": "mpo"}), torch.tensor([[-3.0, -9.0], [-9.0, -3.0]])
    numbers = Responses(logps, torch.ones(2, 2), torch.zeros(2, 2), torch.tensor([[0.4, 0.4], [0.4, 0.4]]))
    losses = mpo(numbers).losses
    assert losses[0].item() == pytest.approx(losses[1].item())


SEEDED = """
import sys
sys.path.insert(0, {root!r})
from tests.pair.test_pairers import SCORED, group_of
from prefine.registry import pairers
group = group_of(["a", "b", "c", "d", "e", "f"])
for block in SCORED:
    found, _ = pairers.build({{**block, "seed": 5}}).pairs(group, [1.0, 1.0, 0.5, 0.5, 0.0, 0.0])
    print(block, [e.id for e in found])
"""


@pytest.mark.acceptance(name="binarize")
def test_draws_are_the_same_in_every_process():
    """Nothing may come from `hash()`, which differs from process to process."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    code = SEEDED.format(root=str(Path(__file__).resolve().parents[2]))
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": s},
        ).stdout
        for s in ("1", "2")
    ]
    assert said[0] == said[1] and said[0].count("[") >= len(SCORED)


def test_settings_out_of_range_are_refused():
    with pytest.raises(PrefineError, match="min_gap must be 0 or more, not -1"):
        build("best_worst", min_gap=-1.0)
    with pytest.raises(PrefineError, match="max_length_ratio must be 1 or more"):
        build("max_margin", max_length_ratio=0.5)
    with pytest.raises(PrefineError, match="max_pairs must be 1 or more"):
        build("all_pairs", max_pairs=0)
