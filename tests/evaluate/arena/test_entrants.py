"""Who meets in the arena: targets, names, and what a vote remembers of a model."""

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.arena.entrants import read_entrants
from prefine.schema import digest
from tests.evaluate.arena.runs import evaluated


def test_two_runs_of_one_model_each(tmp_path):
    a = evaluated(tmp_path / "a", "dpo", {0: "x", 1: "y"}, start={0: "s", 1: "t"}, scores={0: 1.0, 1: 2.0})
    evaluated(tmp_path / "b", "dpo", {0: "z"})
    first, second = read_entrants([str(tmp_path / "a"), str(tmp_path / "b")])
    assert (first.name, second.name) == ("a", "b")
    assert sorted(c.text for c in first.responses.values()) == ["x", "y"]
    assert first.higher == {"gold": True, "bad": False} and second.higher == {}
    weights = a.results("train")[0].manifest()["files"]["model/weights"]
    assert first.facts == {
        "run": "a",
        "variant": "dpo",
        "checkpoint": digest({"model/weights": weights}),
        "mode": "greedy",
        "temperature": "0",
    }


def test_the_start_of_a_run(tmp_path):
    evaluated(tmp_path / "a", "dpo", {0: "x"}, start={0: "s"})
    for targets in ([str(tmp_path / "a")], [f"{tmp_path / 'a'}:dpo", f"{tmp_path / 'a'}:start"]):
        model, start = read_entrants(targets)
        assert (model.name, start.name) == ("dpo", "start")
        assert [c.text for c in start.responses.values()] == ["s"] and start.facts["checkpoint"] == "start-digest"


def test_one_run_with_variants_stands_for_all_of_them(tmp_path):
    for i, name in enumerate(("dpo", "simpo", "pad")):
        evaluated(tmp_path / "a", name, {0: name}, created=f"2026-01-0{i + 1}T00:00:00Z")
    assert [e.name for e in read_entrants([str(tmp_path / "a")])] == ["dpo", "simpo", "pad"]
    chosen = read_entrants([f"{tmp_path / 'a'}:pad", f"{tmp_path / 'a'}:dpo-"])
    assert [e.name for e in chosen] == ["pad", "dpo"]
    with pytest.raises(PrefineError, match=r"several models; name one, as .*a:dpo: dpo, simpo, pad"):
        read_entrants([str(tmp_path / "a"), f"{tmp_path / 'a'}:dpo"])
    with pytest.raises(PrefineError, match=r"no variant 'simp'; did you mean 'simpo'"):
        read_entrants([f"{tmp_path / 'a'}:simp", f"{tmp_path / 'a'}:dpo"])


def test_of_several_evaluations_of_a_model_the_newest_counts(tmp_path):
    evaluated(tmp_path / "a", "dpo", {0: "old"})
    evaluated(tmp_path / "b", "sft", {0: "other"})
    from prefine.rundir import RunDir

    run = RunDir(tmp_path / "a")
    old = run.results("evaluate")[0]
    new = run.stage("evaluate", "dpo", "f" * 64)
    new.start()
    rows = list(old.groups())
    rows[0].candidates[0].completion = [{"role": "assistant", "content": "new"}]
    new.write_part(rows)
    manifest = old.manifest()
    new.finish({}, None, manifest["inputs"], 1.0, created="2027", evaluation=manifest["evaluation"])
    first, _ = read_entrants([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [c.text for c in first.responses.values()] == ["new"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("aa", "there is no run .*aa; did you mean 'a'"),
        ("empty", "has no finished evaluation; run 'prefine evaluate' first"),
        ("a:sample", "no variant 'sample'"),
    ],
)
def test_a_target_that_is_none(tmp_path, target, message):
    evaluated(tmp_path / "a", "dpo", {0: "x"}, start={0: "s"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrefineError, match=message):
        read_entrants([str(tmp_path / target), str(tmp_path / "a")])


def test_responses_of_another_mode_are_missed(tmp_path):
    evaluated(tmp_path / "a", "dpo", {0: "x"}, start={0: "s"})
    with pytest.raises(PrefineError, match="no responses of the mode 'sample'"):
        read_entrants([str(tmp_path / "a")], "sample")


def test_equal_names_are_told_apart(tmp_path):
    evaluated(tmp_path / "x" / "r", "dpo", {0: "x"}, start={0: "s"})
    evaluated(tmp_path / "y" / "r", "dpo", {0: "y"})
    names = [e.name for e in read_entrants([str(tmp_path / "x" / "r"), str(tmp_path / "y" / "r")])]
    assert names == [f"{tmp_path / 'x' / 'r'}:dpo", f"{tmp_path / 'y' / 'r'}:dpo"]
    twice = read_entrants([f"{tmp_path / 'x' / 'r'}:dpo", f"{tmp_path / 'x' / 'r'}:dpo"])
    assert len({e.name for e in twice}) == 2
