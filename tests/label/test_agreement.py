"""Agreement, kappa, and what else goes along with verdicts, against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.label.agreement import (
    agreement,
    correlation,
    family,
    kappa,
    length_bias,
    pairs_of,
    self_preference,
    tie_rate,
    verdicts,
)
from prefine.schema import Comparison, Score

from .asked import group_of


def scored(prompt, values, scorer="gold", texts=None):
    group = group_of(prompt, *(texts or [f"text {i}" for i in range(len(values))]))
    for c, value in zip(group.candidates, values, strict=True):
        c.scores.append(Score(scorer, value))
    return group


def test_kappa_by_hand():
    # 50 pairs: 20 + 15 agree; expected .5 * .6 + .5 * .4 (a worked example of many textbooks).
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert kappa(np.array([[3, 0], [0, 4]])) == 1.0
    assert kappa(np.array([[5, 0], [0, 0]])) is None
    assert kappa(np.zeros((3, 3))) is None
    assert kappa(np.array([[0, 5], [5, 0]])) == pytest.approx(-1.0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=4, max_size=40))
def test_kappa_is_that_of_another_library(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    table = np.zeros((3, 3))
    for a, b in pairs:
        table[a, b] += 1
    ours = kappa(table)
    if ours is not None:
        assert ours == pytest.approx(metrics.cohen_kappa_score(*zip(*pairs, strict=True)))


def test_verdicts_of_scores_and_of_comparisons():
    group = scored("p", [1.0, 3.0, 3.0, None])
    ids = [c.id for c in group.candidates]
    found = verdicts([group], "gold")
    assert len(found) == 3 == len(pairs_of(group)) - 3
    by_pair = {frozenset(place[1:]): (place[1], share) for place, share in found.items()}
    first, share = by_pair[frozenset(ids[:2])]
    assert share == (1.0 if first == ids[1] else 0.0)
    assert by_pair[frozenset(ids[1:3])][1] == 0.5
    group.comparisons = [
        Comparison(ids[0], ids[1], "a", "human"),
        Comparison(ids[1], ids[0], "b", "human"),
        Comparison(ids[0], ids[1], "b", "human"),
        Comparison(ids[2], ids[3], "invalid", "human"),
        Comparison(ids[2], ids[3], "a", "other"),
    ]
    found = verdicts([group], "human")
    assert [(frozenset(p[1:]), s) for p, s in found.items()] == [
        (frozenset(ids[:2]), 1.0 if next(iter(found))[1] == ids[0] else 0.0)
    ]
    assert verdicts([group], "nobody") == {}


def test_aspects_are_scorers():
    group = scored("p", [1.0, 2.0])
    for c, v in zip(group.candidates, (5.0, 4.0), strict=True):
        c.scores.append(Score("gold", v, aspect="style"))
    one, two = verdicts([group], "gold"), verdicts([group], "gold.style")
    assert [1 - s for s in one.values()] == list(two.values())


def test_which_response_of_a_pair_is_named_first_does_not_depend_on_their_order():
    group = group_of("p", *(f"t{i}" for i in range(12)))
    there = {(a.id, b.id) for a, b in pairs_of(group)}
    group.candidates.reverse()
    assert {(a.id, b.id) for a, b in pairs_of(group)} == there
    ordered = sum(a < b for a, b in there)
    assert 20 < ordered < 46, "of 66 pairs, about half"


def place(k, g="g"):
    return (g, f"a{k}", f"b{k}")


def test_agreement_by_hand():
    gold = {place(0): 1.0, place(1): 0.0, place(2): 1.0, place(3): 0.5, place(4): 0.0, place(9): 1.0}
    ours = {place(0): 1.0, place(1): 0.0, place(2): 0.5, place(3): 1.0, place(4): 1.0, place(8): 1.0}
    found = agreement(ours, gold)
    # Five pairs in common; of the four that gold decides two are right, one a tie.
    assert (found["pairs"], found["prompts"], found["accuracy"]) == (5, 1, 0.625)
    # p_o = 2/5; ours: 3 wins, 1 tie, 1 loss; gold: 2, 1, 2; p_e = (6 + 1 + 2) / 25
    assert found["kappa"] == pytest.approx((0.4 - 0.36) / 0.64, abs=1e-6)
    assert found["kappa_interval"] is None, "one prompt has no interval"
    nothing = agreement({}, gold)
    assert (nothing["pairs"], nothing["accuracy"], nothing["kappa"]) == (0, None, None)


def test_intervals_are_over_prompts():
    def judged(pairs):
        return {place(k, f"g{g}"): float(k % 2) for g in range(30) for k in range(pairs)}

    def noisy(pairs):
        # Every third prompt is wrong throughout.
        return {(g, a, b): 1 - s if int(g[1:]) % 3 == 0 else s for (g, a, b), s in judged(pairs).items()}

    few, many = agreement(noisy(2), judged(2)), agreement(noisy(20), judged(20))
    assert few["accuracy"] == many["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    low, high = few["accuracy_interval"]
    # 20 of 30 prompts: the binomial's 95 % is about .49 to .83, however many pairs a prompt has.
    assert low == pytest.approx(0.5, abs=0.05) and high == pytest.approx(0.83, abs=0.05)
    assert many["accuracy_interval"] == pytest.approx(few["accuracy_interval"], abs=0.02)
    low, high = few["kappa_interval"]
    assert low < few["kappa"] < high


def test_correlation():
    assert correlation([1, 2, 3], [2, 4, 7]) == pytest.approx(np.corrcoef([1, 2, 3], [2, 4, 7])[0, 1])
    assert correlation([1, 1], [0, 1]) is None
    assert correlation([1], [1]) is None


def test_length_bias_by_hand():
    group = scored("p", [3.0, 1.0, 2.0], texts=["a b c", "a", "a b"])
    found = length_bias([group], verdicts([group], "gold"))
    assert (found["pairs"], found["longer_wins"]) == (3, 1.0)
    assert found["correlation"] > 0.8
    shorter = scored("p", [1.0, 3.0, 2.0], texts=["a b c", "a", "a b"])
    assert length_bias([shorter], verdicts([shorter], "gold"))["longer_wins"] == 0.0
    same = scored("p", [1.0, 3.0], texts=["a b", "c d"])
    assert length_bias([same], verdicts([same], "gold")) == {"pairs": 1, "correlation": None, "longer_wins": None}


def test_self_preference_by_hand():
    group = scored("p", [3.0, 1.0, 2.0], texts=["x", "y", "z"])
    for c, model in zip(group.candidates, ("org/Qwen3-4B", "llama-3", "qwen2.5"), strict=True):
        c.generator = {"model": model}
    for c, value in zip(group.candidates, (1.0, 2.0, 3.0), strict=True):
        c.scores.append(Score("truth", value))
    judged, truth = verdicts([group], "gold"), verdicts([group], "truth")
    found = self_preference([group], judged, "qwen", truth)
    # Two pairs against llama: the judge gives both to qwen, the truth one of them.
    assert (found["pairs"], found["own_wins"], found["excess"]) == (2, 1.0, 0.5)
    assert self_preference([group], judged, "mistral", truth)["own_wins"] is None
    assert self_preference([group], judged, "", None)["pairs"] == 0


@pytest.mark.parametrize(
    ("model", "name"), [("Qwen/Qwen3-4B", "qwen"), ("gpt-4o-mini", "gpt"), ("/models/Llama-3/", "llama"), ("", "")]
)
def test_families(model, name):
    assert family(model) == name


def test_tie_rate():
    assert tie_rate({place(0): 0.5, place(1): 1.0}) == 0.5
    assert tie_rate({}) is None
