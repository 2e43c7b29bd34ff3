"""Trains DPO (Plackett-Luce DPO on lists) on the first rows of a JSON Lines file, through prefine's public interface.

The command that a benchmark times: `python benchmarks/candidate.py --model M --data F --pairs N --batch B --dtype bf16
--lr 1e-4 --beta 0.1 --save DIR --threads 1`. Rows have prompt, chosen and rejected, or prompt, responses (best first)
and scores. One epoch, constant rate, prompts and responses as plain text with an end-of-sequence token.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path


def recipe(a: argparse.Namespace, rows: Path, folder: str, lists: bool) -> dict:
    """One training on all rows, none held out, with the settings that other trainers have by default."""
    objective = {"name": "pl_dpo" if lists else "dpo", "beta": a.beta}
    return {
        "name": "candidate",
        "output_dir": folder,
        "model": {"path": a.model, **({"lora_r": a.lora} if a.lora else {})},
        "data": {"path": str(rows), "test_fraction": 0.0, "plain_text": True},
        "threads": a.threads,
        "train": {
            "objective": objective,
            "learning_rate": a.lr,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0.0,
            "batch_size": a.batch,
            "bf16": a.dtype == "bf16",
            "max_length": 2048,
            **({"max_tokens": a.tokens} if a.tokens else {}),
            "max_steps": math.ceil(a.pairs / a.batch),
            "logging_steps": 1,
        },
    }


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, required=True, help="rows read from the front of the file")
    parser.add_argument("--batch", type=int, default=8, help="prompts in an optimizer step")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--lora", type=int, default=0, help="rank of an adapter; 0 trains all weights")
    parser.add_argument("--tokens", type=int, default=0, help="tokens of a micro-batch; 0 is prefine's choice")
    parser.add_argument("--save", required=True, help="folder for the trained model")
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args(given)
    os.environ["OMP_NUM_THREADS"] = str(a.threads)

    import prefine

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(a.data).read_text().splitlines()[: a.pairs]
        rows = Path(folder, "rows.jsonl")
        rows.write_text("\n".join(lines) + "\n")
        lists = "responses" in json.loads(lines[0])
        path = Path(folder, "recipe.yaml")
        path.write_text(json.dumps(recipe(a, rows, folder, lists)))
        (trained,) = prefine.run(path).results("train")
        shutil.copytree(trained.path / "model", a.save, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
