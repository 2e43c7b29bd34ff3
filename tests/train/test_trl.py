"""One step over one whole batch beside TRL's DPO trainer, by the two commands that the benchmark of speed times."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import make_model, make_tokenizer

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def changes(tmp_path, dtype):
    """What each trainer changed of the same weights, as one vector."""
    tokenizer = make_tokenizer()
    model = tmp_path / "model"
    make_model(tokenizer, hidden_size=64).save_pretrained(model)
    tokenizer.save_pretrained(model)
    words = ["tea", "sun", "cup", "hat", "dog", "box", "pen", "sky"]
    rows = [{"prompt": f"say {w} now", "chosen": f" {w}!", "rejected": f" no {w} for you"} for w in words]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = load_file(model / "model.safetensors")
    found = []
    for script in ("trl_dpo.py", "candidate.py"):
        save = tmp_path / script
        given = {"model": model, "data": data, "pairs": 8, "batch": 8, "dtype": dtype, "lr": 1e-3, "save": save}
        command = [sys.executable, str(BENCHMARKS / script), *(f"--{k}={v}" for k, v in given.items())]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert ran.returncode == 0, ran.stderr[-2000:]

        after = load_file(save / "model.safetensors")
        found.append(torch.cat([(after[k].double() - start[k].double()).flatten() for k in start]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "least"), [("fp32", 0.9999), ("bf16", 0.98)])
def test_the_same_change_of_the_weights(tmp_path, dtype, least):
    if importlib.util.find_spec("trl") is None:
        pytest.skip("needs TRL, which comes with the extra 'compare'")
    theirs, ours = changes(tmp_path, dtype)
    assert theirs.norm() > 0
    assert float(torch.nn.functional.cosine_similarity(theirs, ours, dim=0)) >= least
    assert float(ours.norm() / theirs.norm()) == pytest.approx(1.0, abs=1e-4 if dtype == "fp32" else 0.05)
