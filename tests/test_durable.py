"""What is written is there whole or not at all, also when the writer is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from prefine import durable


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "a.json"
    durable.write_json(path, {"a": [1, "é"]})
    assert json.loads(path.read_text()) == {"a": [1, "é"]}
    durable.write_json(path, 2)
    assert path.read_text() == "2\n"
    assert os.listdir(path.parent) == ["a.json"]


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    durable.write_bytes(path, b"old")
    with pytest.raises(RuntimeError), durable.replacing(path) as tmp:
        tmp.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_refuses_what_is_not_json(tmp_path):
    with pytest.raises(ValueError):
        durable.write_json(tmp_path / "a.json", float("nan"))
    assert not (tmp_path / "a.json").exists()


def test_a_folder_is_published_whole_and_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "model"
    for text in ("one", "two"):
        with durable.publishing(path) as tmp:
            (tmp / "sub").mkdir()
            (tmp / "sub" / "w").write_text(text)
            assert not path.exists() or (path / "sub" / "w").read_text() == "one"
        assert (path / "sub" / "w").read_text() == text
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_while_publishing_leaves_the_old_folder(tmp_path):
    path = tmp_path / "model"
    with durable.publishing(path) as tmp:
        (tmp / "w").write_text("old")
    with pytest.raises(RuntimeError), durable.publishing(path) as tmp:
        (tmp / "w").write_text("half")
        raise RuntimeError
    assert (path / "w").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_sweeping_takes_only_what_a_killed_writer_left(tmp_path):
    (tmp_path / f"a.parquet{durable.TMP_MARK}12345678").write_text("half")
    (tmp_path / f"model{durable.TMP_MARK}old-1").mkdir()
    (tmp_path / "a.parquet").write_text("whole")
    durable.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_the_digest_of_a_file(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    assert durable.sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


WRITER = """
import sys, itertools
from pathlib import Path
from prefine.durable import publishing, write_bytes
folder = Path(sys.argv[1])
print("go", flush=True)
for i in itertools.count():
    write_bytes(folder / "file", bytes([i % 251]) * 300_000)
    with publishing(folder / "model") as tmp:
        for name in "abc":
            (tmp / name).write_bytes(bytes([i % 251]) * 100_000)
"""


@pytest.mark.parametrize("delay", [0.02, 0.11, 0.23])
def test_a_kill_at_any_instant_leaves_whole_things(tmp_path, delay):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    if (tmp_path / "file").exists():
        data = (tmp_path / "file").read_bytes()
        assert len(data) == 300_000 and len(set(data)) == 1
    folders = [p for p in tmp_path.iterdir() if p.name == "model" or "old-" in p.name]
    if (tmp_path / "model").exists():
        assert {(p.name, p.stat().st_size) for p in (tmp_path / "model").iterdir()} == {(n, 100_000) for n in "abc"}
        assert len({(p.read_bytes()) for p in (tmp_path / "model").iterdir()}) == 1
    elif folders:
        assert {p.name for p in folders[0].iterdir()} == set("abc"), "between two renames the old folder is still whole"
    durable.sweep(tmp_path)
    assert set(os.listdir(tmp_path)) <= {"file", "model"}
