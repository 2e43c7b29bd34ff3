"""A run's directory: balanced counts, results by key, parts that survive, one writer."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from prefine.durable import TMP_MARK, sha256_file
from prefine.errors import DirectoryInUse, PrefineError
from prefine.rundir import Counts, RunDir, run_stage, stage_key, versions
from prefine.schema import Example, make_group


def groups(*texts: str):
    return [make_group([{"role": "user", "content": t}], ["answer"]) for t in texts]


def test_counts_that_balance():
    counts = Counts(5)
    counts.rows_out = 2
    counts.drop("too_long", 2)
    counts.drop("empty")
    counts.note("truncated", 3)
    assert counts.as_dict() == {
        "rows_in": 5,
        "rows_out": 2,
        "dropped": {"empty": 1, "too_long": 2},
        "extra": {"truncated": 3},
    }


def test_counts_that_do_not_balance_are_an_error():
    counts = Counts(5)
    counts.rows_out = 3
    with pytest.raises(PrefineError, match="row counts do not balance: 5 in, 3 out"):
        counts.as_dict()


def test_a_stage_runs_once_for_each_key(tmp_path):
    run, calls = RunDir(tmp_path / "r"), []

    def work(folder):
        calls.append(folder.key)
        folder.write_part(groups("a", "b"))
        folder.write_part(groups("c"))
        counts = Counts(4)
        counts.rows_out = 3
        counts.drop("empty")
        return counts, {"note": "hello"}

    for n, expected in ((4, True), (4, False), (5, True)):
        settings, inputs = {"n": n}, {"data": "abc"}
        folder = run.stage("generate", "hf", stage_key("generate", settings, inputs))
        assert run_stage(folder, settings, inputs, work) is expected
    assert len(calls) == 2
    assert len(run.results("generate")) == 2
    done = run.results("generate")[0]
    assert [g.prompt for g in done.groups()] == ["a", "b", "c"]
    manifest = done.manifest()
    assert manifest["counts"]["dropped"] == {"empty": 1}
    assert manifest["note"] == "hello" and manifest["settings"] == {"n": 4} and manifest["inputs"] == {"data": "abc"}
    assert manifest["files"] == {p.name: sha256_file(p) for p in done.parts}
    assert manifest["versions"]["python"]


def test_keys_are_made_of_what_a_stage_does_and_reads():
    key = stage_key("label", {"a": 1, "b": [1, 2]}, {"x": "1"})
    assert key == stage_key("label", {"b": [1, 2], "a": 1}, {"x": "1"})
    others = [("pair", {"a": 1, "b": [1, 2]}, {"x": "1"}), ("label", {"a": 2, "b": [1, 2]}, {"x": "1"})]
    others.append(("label", {"a": 1, "b": [1, 2]}, {"x": "2"}))
    assert key not in [stage_key(*o) for o in others]


def test_an_interrupted_stage_keeps_its_finished_parts(tmp_path):
    run = RunDir(tmp_path / "r")
    folder = run.stage("label", "x", "k" * 64)

    def stopped(folder):
        folder.write_part(groups("a"))
        (folder.path / f"part-00001.parquet{TMP_MARK}1").write_text("half a part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(folder, {}, {}, stopped)
    assert not folder.done and run.results("label") == []

    def goes_on(folder):
        assert [g.prompt for g in folder.groups()] == ["a"]
        assert not list(folder.path.glob(f"*{TMP_MARK}*"))
        folder.write_part(groups("b"))
        counts = Counts(2)
        counts.rows_out = 2
        return counts, {}

    assert run_stage(folder, {}, {}, goes_on)
    assert [g.prompt for g in folder.groups()] == ["a", "b"]


def test_a_stage_whose_counts_do_not_balance_is_not_done(tmp_path):
    folder = RunDir(tmp_path).stage("pair", "x", "k" * 64)
    with pytest.raises(PrefineError, match="do not balance"):
        run_stage(folder, {}, {}, lambda f: (Counts(1), {}))
    assert not folder.done


def test_examples_are_stored_as_examples(tmp_path):
    folder = RunDir(tmp_path).stage("pair", "x", "k" * 64)
    folder.start()
    row = Example("1", "g", [{"role": "user", "content": "a"}], [[{"role": "assistant", "content": "b"}]])
    folder.write_part([row])
    assert list(folder.examples()) == [row]


def test_files_of_a_stage_are_in_its_manifest(tmp_path):
    folder = RunDir(tmp_path).stage("train", "dpo", "k" * 64)

    def work(folder):
        (folder.path / "model").mkdir()
        (folder.path / "model" / "weights").write_text("w")
        return None, {}

    run_stage(folder, {}, {}, work)
    assert list(folder.manifest()["files"]) == ["model/weights"]
    assert folder.manifest()["counts"] is None


def test_one_writer_at_a_time(tmp_path):
    with RunDir(tmp_path / "r") as run:
        with pytest.raises(DirectoryInUse, match="is in use by pid") as caught, RunDir(tmp_path / "r"):
            pass
        assert caught.value.exit_code == 73
        code = (
            f"from prefine.rundir import RunDir\nfrom pathlib import Path\nwith RunDir(Path({str(run.path)!r})): pass"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert other.returncode != 0 and "is in use by pid" in other.stderr
    with RunDir(tmp_path / "r"):
        pass


def test_a_killed_holder_does_not_keep_the_directory(tmp_path):
    code = (
        "import os, signal\nfrom prefine.rundir import RunDir\nfrom pathlib import Path\n"
        f"with RunDir(Path({str(tmp_path / 'r')!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60)
    with RunDir(tmp_path / "r"):
        pass


def test_versions_name_what_decides_results():
    found = versions()
    assert {"python", "platform", "torch", "transformers", "prefine", "commit"} <= set(found)
    json.dumps(found)
