"""Pairs by the gap of their scores."""

import pytest

from prefine.errors import PrefineError
from prefine.registry import cleaners
from prefine.schema import Score

from .folders import clean, group_of, pair_of, prefer


def pairs(*gaps: float, source: str = "", split: str = "train"):
    rows = []
    for k, gap in enumerate(gaps):
        group = group_of(f"{source} {k}", "a", "b", scores=[gap, 0.0], split=split)
        rows.append(group)
        if source:
            group.source = {"dataset": source}
    return rows


def kept(found) -> list[float]:
    return [c.candidates[0].scores[0].value for c in found.rows]


def test_min_and_max_are_inside_the_range(tmp_path):
    rows = pairs(0.25, 0.5, 1.0, 2.0, 3.0)
    found = clean(tmp_path, rows, {"name": "gap", "min": 0.5, "max": 2.0})
    assert kept(found) == [0.5, 1.0, 2.0]
    assert found.counts["dropped"] == {"gap_too_small": 1, "gap_too_large": 1}
    small = next(d for d in found.decisions if d.reason == "gap_too_small")
    assert small.facts == {"gap": 0.25, "rule": "min-max", "low": 0.5, "high": 2.0}


def test_quantiles_are_those_of_a_source(tmp_path):
    rows = pairs(0.0, 1.0, 2.0, 3.0, 4.0, source="small") + pairs(0.0, 10.0, 20.0, 30.0, 40.0, source="big")
    block = {"name": "gap", "quantiles": [0.25, 0.75]}
    assert kept(clean(tmp_path, rows, block)) == [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]
    together = clean(tmp_path, rows, {**block, "by_source": False})
    # Of 0 0 1 2 3 4 10 20 30 40 the quartiles are 1.25 and 17.5.
    assert kept(together) == [2.0, 3.0, 4.0, 10.0]


def test_gaussian_keeps_what_is_nearest_to_the_mean(tmp_path):
    found = clean(tmp_path, pairs(0.0, 4.0, 5.0, 6.0, 10.0), {"name": "gap", "gaussian": 0.6})
    assert kept(found) == [4.0, 5.0, 6.0]
    [curve] = found.told["gaps"].values()
    assert (curve["mean"], curve["rows"], curve["kept"]) == (5.0, 5, 3)
    assert curve["sd"] == pytest.approx((52 / 5) ** 0.5, abs=1e-6)
    assert sum(curve["counts"]) == 5 and sum(curve["counts_kept"]) == 3
    assert kept(clean(tmp_path, pairs(0.1, 0.2, 0.3), {"name": "gap", "gaussian": 1.0})) == [0.1, 0.2, 0.3]


def test_without_two_scores_there_is_no_gap_and_held_out_rows_pass(tmp_path):
    none = group_of("none", "a", "b", scores=[None, 1.0])
    preferred = group_of("preferred", "a", "b")
    prefer(preferred, 0, 1)
    held_out = pairs(0.0, split="test")
    found = clean(tmp_path, [*pairs(1.0, 1.5), none, preferred, *held_out], {"name": "gap", "min": 1.0})
    assert found.counts["dropped"] == {"no_gap": 2}
    assert found.fate(held_out[0].id) == (True, "held_out")


def test_by_default_only_pairs_whose_scores_contradict_them_go(tmp_path):
    right, wrong = group_of("right", "a", "b", scores=[1.0, 0.0]), group_of("wrong", "a", "b", scores=[1.0, 2.0])
    for group in (right, wrong):
        prefer(group, 0, 1)
    found = clean(tmp_path, [right, wrong, *pairs(0.0)], {"name": "gap"})
    assert found.dropped() == {wrong.id: "gap_too_small"}


def test_the_scorer_can_be_named_and_examples_have_their_own_scores(tmp_path):
    [group] = pairs(1.0)
    for c, value in zip(group.candidates, (0.0, 5.0), strict=True):
        c.scores.append(Score("judge", value, aspect="help"))
    block = {"name": "gap", "min": 4.0, "score": "judge.help"}
    assert len(clean(tmp_path, [group], block).rows) == 1
    rows = [pair_of("p", "a", "b", [3.0, 1.0]), pair_of("q", "a", "b", [1.5, 1.0]), pair_of("r", "a", "b")]
    found = clean(tmp_path, rows, {"name": "gap", "min": 1.0})
    assert [e.id for e in found.rows] == [rows[0].id]
    assert found.counts["dropped"] == {"gap_too_small": 1, "no_gap": 1}
    with pytest.raises(PrefineError, match="no row has two responses with scores by 'golden'"):
        clean(tmp_path, [group], {"name": "gap", "min": 1.0, "score": "golden"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max": -1.0}, "min must not be above max"),
        ({"min": 2.0, "max": 1.0}, "min must not be above max"),
        ({"quantiles": [0.5]}, "two shares"),
        ({"quantiles": [0.9, 0.1]}, "two shares"),
        ({"gaussian": 0.0}, "above 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(PrefineError, match=message):
        cleaners.check({"name": "gap", **settings})
