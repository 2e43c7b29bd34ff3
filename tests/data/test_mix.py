"""Mixtures: how many of each source, which ones, repetitions, and what several sources share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.data.decisions import read_decisions
from prefine.data.formats.canonical import Canonical
from prefine.data.load import load
from prefine.data.mix import mix, read_parts, sizes
from prefine.data.repeats import INDEX
from prefine.data.steps import rows_in
from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.recipe import Data

from .clean.folders import folder_of, group_of, pair_of


def mixed(tmp_path, sources: dict[str, list], total: int | None = None, **shares):
    """The rows of a mixture of `sources`, with the counts and facts."""
    number = len(list(tmp_path.iterdir()))
    folders = [folder_of(tmp_path / f"{number}-{name}", rows) for name, rows in sources.items()]
    parts = read_parts([{"path": name, **shares[name]} for name in sources])
    target = folder_of(tmp_path / f"{number}-mix")
    counts, facts = mix(parts, folders, total, 0, target, Progress.silent())
    return list(rows_in(target)), counts.as_dict(), facts, target


def prompts(name: str, n: int, held_out: int = 0):
    rows = [group_of(f"{name} {k}", "a", source={"dataset": name}) for k in range(n)]
    return rows + [group_of(f"{name} held out {k}", "a", split="test") for k in range(held_out)]


def test_each_source_gives_its_share(tmp_path):
    sources = {"a": prompts("a", 40, 10), "b": prompts("b", 30), "c": prompts("c", 20)}
    shares = {"a": {"fraction_of_source": 0.5}, "b": {"count": 7}, "c": {"count": 50, "cap": 12}}
    rows, counts, facts, target = mixed(tmp_path, sources, **shares)
    by = [sum(r.source.get("dataset") == name for r in rows) for name in "abc"]
    assert by == [20, 7, 12] and sum(r.split == "test" for r in rows) == 5
    assert (counts["rows_in"], counts["rows_out"], counts["dropped"]) == (100, 44, {"not_in_mix": 56})
    assert [f["epochs"] for f in facts["sources"]] == [0.5, round(7 / 30, 6), 0.6]
    assert len(list(read_decisions(target.path))) == 100


def test_a_tenth_is_part_of_a_fifth(tmp_path):
    rows = prompts("a", 100)
    found = {}
    for share in (0.1, 0.2):
        for order in (rows, rows[::-1]):
            ids = {r.id for r in mixed(tmp_path, {"a": order}, a={"fraction_of_source": share})[0]}
            assert found.setdefault(share, ids) == ids
    assert (len(found[0.1]), len(found[0.2])) == (10, 20) and found[0.1] < found[0.2]


def test_more_than_there_are_is_repeated_evenly_with_ids_of_their_own(tmp_path):
    source = prompts("a", 10, 4)
    rows, counts, facts, target = mixed(tmp_path, {"a": source}, a={"fraction_of_source": 2.5})
    training = [r for r in rows if r.split != "test"]
    times = [sum(r.prompt == s.prompt for r in training) for s in source[:10]]
    assert sorted(times) == [2] * 5 + [3] * 5 and len(rows) - len(training) == 4
    assert len({r.id for r in rows}) == len(rows)
    assert {r.task_meta.get(INDEX, "0") for r in training} == {"0", "1", "2"}
    assert counts["extra"]["repeats"] == 15 and (counts["rows_in"], counts["rows_out"]) == (14, 14)
    assert facts["sources"][0]["epochs"] == 2.5
    # A recipe that reads the folder as data keeps the copies.
    again = load(Data(path=str(target.path))).groups
    assert {g.id for g in again} == {r.id for r in rows}
    assert Canonical.tells == "groups"


def test_examples_can_be_mixed_and_repeated(tmp_path):
    rows = [pair_of(str(k), "x", "y") for k in range(4)]
    found, *_ = mixed(tmp_path, {"a": rows}, a={"count": 6})
    assert len(found) == 6 == len({e.id for e in found}) and {e.group_id for e in found} == {e.group_id for e in rows}


def test_a_prompt_of_two_sources_is_one_with_the_responses_of_both(tmp_path):
    one, two = group_of("shared", "x"), group_of("shared", "y")
    one.source, two.source = {"dataset": "a"}, {"dataset": "b"}
    sources = {"a": [one, *prompts("a", 3)], "b": [*prompts("b", 2), two]}
    rows, counts, *_ = mixed(tmp_path, sources, a={"fraction_of_source": 2.0}, b={"fraction_of_source": 1.0})
    both = [r for r in rows if r.prompt == "shared"]
    assert len(both) == 2 and all({c.text for c in r.candidates} == {"x", "y"} for r in both)
    assert both[0].source["dataset"] == "a + b"
    assert counts["dropped"] == {"merged_with_another_source": 1}


def parts(**shares):
    return read_parts([{"path": name, **share} for name, share in shares.items()])


def test_weights_share_the_total_and_without_one_nothing_is_repeated():
    two = parts(a={"weight_in_mix": 3}, b={"weight_in_mix": 1})
    assert sizes(two, [1000, 1000], 100) == [75, 25]
    assert sizes(two, [300, 500], None) == [300, 100]
    assert sizes(parts(a={"weight_in_mix": 1}, b={"count": 40}, c={"weight_in_mix": 2}), [100, 100, 100], 100) == [
        20,
        40,
        40,
    ]
    # 10 rows in thirds: the first of equal remainders gets the one that is left.
    thirds = parts(a={"weight_in_mix": 1}, b={"weight_in_mix": 1}, c={"weight_in_mix": 1})
    assert sizes(thirds, [9, 9, 9], 10) == [4, 3, 3]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(6, 10_000))
def test_shares_add_up_to_the_total(weights, total):
    found = sizes(parts(**{f"s{i}": {"weight_in_mix": w} for i, w in enumerate(weights)}), [10] * len(weights), total)
    assert sum(found) == total
    assert all(abs(n - total * w / sum(weights)) < 1 for n, w in zip(found, weights, strict=True))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"count": 1}, "needs a path"),
        ({"path": "x"}, "exactly one of .* not none"),
        ({"path": "x", "count": 1, "weight_in_mix": 1.0}, "not count and weight_in_mix"),
        ({"path": "x", "cuont": 1}, "did you mean 'count'"),
        ({"path": "x", "count": 0}, "whole number above 0"),
        ({"path": "x", "count": 1.5}, "whole number above 0"),
        ({"path": "x", "fraction_of_source": -1}, "number above 0"),
    ],
)
def test_wrong_sources_are_refused(block, message):
    with pytest.raises(PrefineError, match=message):
        read_parts([block])


def test_wrong_totals_are_refused():
    with pytest.raises(PrefineError, match="divided by weights"):
        sizes(parts(a={"count": 1}), [5], 10)
    with pytest.raises(PrefineError, match="0 are left"):
        sizes(parts(a={"count": 10}, b={"weight_in_mix": 1}), [50, 50], 10)
    with pytest.raises(PrefineError, match="a has no training rows"):
        sizes(parts(a={"count": 1}), [0], None)
    with pytest.raises(PrefineError, match="two sources are called 'x'"):
        read_parts([{"path": "x", "count": 1}, {"path": "x", "count": 2}])
