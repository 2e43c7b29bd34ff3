"""Labeled single responses, from labels or from a threshold on scores."""

import pytest

from prefine.pair.unpaired import Unpaired
from prefine.schema import make_group


def group(labels=(), texts=("good", "bad", "so so")):
    made = make_group([{"role": "user", "content": "q"}], list(texts))
    for candidate, label in zip(made.candidates, labels, strict=False):
        if label is not None:
            candidate.labels["desirable"] = label
    return made


def rows(pairer, made, scores=(None, None, None)):
    found, reason = pairer.pairs(made, list(scores))
    return {e.responses[0][0]["content"]: e.labels for e in found}, reason


def test_labels_of_the_data():
    assert rows(Unpaired(), group([True, False, None])) == ({"good": [1.0], "bad": [0.0]}, None)
    assert rows(Unpaired(), group()) == ({}, "no_labels")
    assert rows(Unpaired(), group([True], texts=())) == ({}, "no_responses")
    assert rows(Unpaired(), group([True], texts=("  ",)), [None]) == ({}, "only_empty_responses")


def test_equal_texts_are_one_row_and_contradictions_none():
    made = group([True, True, False], texts=("same", "same ", "other"))
    for i, candidate in enumerate(made.candidates):
        candidate.id = f"c{i}"
    assert rows(Unpaired(), made) == ({"same": [1.0], "other": [0.0]}, None)
    made.candidates[1].labels["desirable"] = False
    assert rows(Unpaired(), made) == ({"other": [0.0]}, None)
    made.candidates.pop()
    assert rows(Unpaired(), made) == ({}, "contradictory_labels")


def test_a_threshold_on_scores():
    found, reason = rows(Unpaired(threshold=0.5), group(), [0.9, 0.5, None])
    assert (found, reason) == ({"good": [1.0], "bad": [0.0]}, None)
    assert Unpaired(threshold=0.5).needs_scores and not Unpaired().needs_scores
    assert rows(Unpaired(threshold=0.5), group()) == ({}, "no_scored_response")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_order_of_candidates_decides_nothing(order):
    made = group([True, False, True])
    made.candidates = [made.candidates[i] for i in order]
    assert [e.id for e in Unpaired().pairs(made, [None] * 3)[0]] == [
        e.id for e in Unpaired().pairs(group([True, False, True]), [None] * 3)[0]
    ]
