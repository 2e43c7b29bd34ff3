"""The runner of steps: balance, chains, held-out rows, rehearsals, and what is kept of an interrupted process."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefine.data import steps
from prefine.data.clean.base import Cleaner, drop, keep
from prefine.data.decisions import read_decisions
from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.registry import cleaners

from .clean.folders import clean, folder_of, group_of, prefer

CHAIN = [
    {"name": "exact_duplicates"},
    {"name": "near_duplicates"},
    {"name": "flags"},
    {"name": "gap", "min": 0.2},
    {"name": "length", "policy": "ratio", "ratio": 4.0},
    {"name": "random", "size": 0.5},
]


def noisy(rng: random.Random, n: int):
    """Groups of which about a third lack scores, repeat each other, or hold broken responses."""
    rows = []
    for k in range(n):
        texts = [
            rng.choice(["fine answer", "a b c", " ", "I'm sorry, but I can't help.", f"text {k}"]) for _ in range(3)
        ]
        scores = [rng.choice([None, 0.0, 0.5, 1.0]) for _ in texts]
        group = group_of(f"prompt number {rng.randrange(n)} of all the prompts here", *texts, scores=scores)
        group.split = "test" if rng.random() < 0.2 else "train"
        if rng.random() < 0.5:
            prefer(group, *rng.sample(range(3), 2))
        rows.append(group)
    return rows


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_rows_balance_in_every_step_whatever_is_wrong_with_them(tmp_path, seed):
    rows = [*noisy(random.Random(seed), 40), group_of("good one", "one two", "three four", scores=[1.0, 0.0])]
    source, target = folder_of(tmp_path / f"a{seed}", rows), folder_of(tmp_path / f"b{seed}")
    steps.clear(target)
    outcome = steps.run_steps(source, CHAIN, target, Progress.silent())
    n = len(rows)
    for told in outcome.steps:
        assert told["rows_in"] == n == told["rows_out"] + sum(told["dropped"].values())
        n = told["rows_out"]
    counts = outcome.counts.as_dict()
    assert (counts["rows_in"], counts["rows_out"]) == (len(rows), n)
    said = list(read_decisions(target.path))
    for told in outcome.steps:
        mine = [d for d in said if d.step == told["step"] and d.id == d.group_id]
        assert len(mine) == told["rows_in"], "every row that a step saw has one decision"
        assert sum(not d.keep for d in mine) == sum(told["dropped"].values())
    assert not list(target.path.glob("*tmp*"))


def test_one_bad_row_touches_no_other(tmp_path):
    good = [group_of(f"good prompt {k}", "one two", "three four", scores=[1.0, 0.0]) for k in range(20)]
    bad = [group_of(f"bad prompt {k}", " ", "x" * 3000, scores=[None, None]) for k in range(9)]
    chain = [{"name": "exact_duplicates"}, {"name": "flags"}, {"name": "gap", "min": 0.5}]
    alone = clean(tmp_path, good, *chain)
    mixed = clean(tmp_path, [g for pair in zip(good, [*bad, *[None] * 11], strict=True) for g in pair if g], *chain)
    assert mixed.rows == alone.rows == good
    assert sum(mixed.counts["dropped"].values()) == len(bad)


def test_steps_of_one_name_are_told_apart(tmp_path):
    rows = [group_of(str(k), "a", "b", scores=[float(k), 0.0]) for k in range(1, 6)]
    found = clean(tmp_path, rows, {"name": "gap", "min": 2.0}, {"name": "gap", "max": 4.0})
    assert [d.step for d in found.decisions if d.id == rows[4].id] == ["gap", "gap 2"]
    assert [d.keep for d in found.decisions if d.id == rows[4].id] == [True, False]


def test_a_rehearsal_writes_nothing_and_tells_the_same(tmp_path):
    rows = noisy(random.Random(1), 60)
    source, target = folder_of(tmp_path / "in", rows[:30], rows[30:]), folder_of(tmp_path / "out")
    before = sorted(p for p in tmp_path.rglob("*"))
    rehearsed = steps.run_steps(source, CHAIN, None, Progress.silent())
    assert sorted(p for p in tmp_path.rglob("*")) == before
    steps.clear(target)
    done = steps.run_steps(source, CHAIN, target, Progress.silent())
    plain = [{k: v for k, v in told.items() if k != "seconds"} for told in done.steps]
    assert [{k: v for k, v in told.items() if k != "seconds"} for told in rehearsed.steps] == plain
    assert rehearsed.counts.as_dict() == done.counts.as_dict()


def test_an_empty_result_is_an_error_that_says_why(tmp_path):
    rows = [group_of("a", "x", "y", scores=[1.0, 0.0])]
    with pytest.raises(PrefineError, match=r"gap: no row is left of 1 \(1 x gap_too_small\)"):
        clean(tmp_path, rows, {"name": "gap", "min": 5.0})
    all_gone = steps.run_steps(folder_of(tmp_path / "r", rows), [{"name": "gap", "min": 5.0}], None, Progress.silent())
    assert all_gone.counts.rows_out == 0
    with pytest.raises(PrefineError, match="there are no rows in it"):
        steps.run_steps(folder_of(tmp_path / "none"), [{"name": "split"}], None, Progress.silent())


def test_a_step_that_loses_rows_is_found_out(tmp_path, monkeypatch):
    class Forgetful(Cleaner):
        def decide(self, row):
            decided = keep(row)
            decided.rows = [] if row.prompt == "b" else decided.rows
            return decided

    monkeypatch.setattr(cleaners, "build", lambda block: Forgetful())
    with pytest.raises(PrefineError, match="row counts do not balance"):
        clean(tmp_path, [group_of("a"), group_of("b")], {"name": "forgetful"})


def test_a_step_of_ones_own_runs_by_its_import_path(tmp_path):
    rows = [group_of("short"), group_of("a longer prompt")]
    found = clean(tmp_path, rows, {"name": f"{__name__}:Long", "most": 8})
    assert found.counts["dropped"] == {"long_prompt": 1}
    assert found.told["shown"] == {"long_prompt": [{"id": rows[1].id, "characters": 15}]}


class Long(Cleaner):
    """Prompts that are not too long."""

    def __init__(self, most: int = 10) -> None:
        self.most = most

    def decide(self, row):
        return keep(row) if len(row.prompt) <= self.most else drop("long_prompt", characters=len(row.prompt))
