"""Whole runs killed at random instants and started again by the same command end with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefine.durable import sha256_file

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "tiny"
SMALL = ["evaluate.data.arguments.n=24", "report=null"]
OVERRIDES = {
    "pad_tiny": ["data.arguments.n=48"],
    "zephyr_tiny": [
        "variants.writer.data.arguments.n=256",
        "variants.dsft.prompts.maker.target=48",
        "variants.dsft.prompts.maker.calls=16",
    ],
}
KILLS = int(os.environ.get("PREFINE_TEST_KILLS", "10"))


def start(recipe, folder):
    command = [sys.executable, "-m", "prefine", "run", str(RECIPES / f"{recipe}.yaml")]
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(
            [*command, *SMALL, *OVERRIDES[recipe]],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def results(folder):
    """Rows and weights by their path in the run; manifests hold times, and the ledger's file its own pages."""
    found = [p for p in sorted(folder.glob("runs/*/**/*")) if p.suffix in (".parquet", ".safetensors")]
    return {str(p.relative_to(folder)): sha256_file(p) for p in found if "checkpoints" not in p.parts}


def begun(folder):
    """The folders of stages that have begun, and the name of the one that is not finished."""
    found = [p for p in folder.glob("runs/*/*/*-*") if p.is_dir() and p.parent.name != "reference"]
    return len(found), next((p.parent.name for p in found if not (p / "_SUCCESS").exists()), "between")


def kill_within(process, folder, stages, seconds):
    """SIGKILL at a random instant after so many stages and its first line; where it was, or None if it ended."""
    log = folder / "log.txt"
    silent = log.stat().st_size
    while (begun(folder)[0] < stages or log.stat().st_size == silent) and process.poll() is None:
        time.sleep(0.02)
    try:
        process.wait(timeout=random.SystemRandom().uniform(0, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return begun(folder)[1]
    return None


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("recipe", sorted(OVERRIDES))
def test_killed_at_random_instants_it_ends_with_the_same_bytes(tmp_path, recipe, record_property):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    assert start(recipe, whole).wait() == 0, (whole / "log.txt").read_text()[-2000:]
    seconds = time.monotonic() - began
    want = results(whole)
    assert {Path(p).parts[2] for p in want} >= {"data", "generate", "label", "pair", "train"}
    in_all, stages = begun(whole)[0], []
    for k in range(KILLS):
        process = start(recipe, killed)
        found = kill_within(process, killed, 1 + k * in_all // KILLS, 1.5 * seconds / in_all)
        assert found is not None or process.returncode == 0, (killed / "log.txt").read_text()[-2000:]
        stages += [found] if found else []
    record_property("killed_in", " ".join(stages))
    print(f"{recipe}: {seconds:.0f} s, killed in {stages}")
    assert len(set(stages)) > 2, "the kills fell into different stages"
    assert start(recipe, killed).wait() == 0, (killed / "log.txt").read_text()[-2000:]
    assert results(killed) == want
