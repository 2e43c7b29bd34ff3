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


def where(folder):
    """The stage that a killed process was in."""
    open_ones = [p for p in folder.glob("runs/*/*/*-*") if p.is_dir() and not (p / "_SUCCESS").exists()]
    return open_ones[0].parent.name if open_ones else "between"


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
    rng, stages = random.Random(), []
    for _ in range(KILLS):
        process = start(recipe, killed)
        try:
            process.wait(timeout=rng.uniform(0.1, 0.4) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            stages.append(where(killed))
        else:
            assert process.returncode == 0, (killed / "log.txt").read_text()[-2000:]
            break
    record_property("killed_in", " ".join(stages))
    print(f"{recipe}: {seconds:.0f} s, killed in {stages}")
    assert stages
    assert start(recipe, killed).wait() == 0, (killed / "log.txt").read_text()[-2000:]
    assert results(killed) == want
