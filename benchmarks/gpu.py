"""Training beside TRL's DPO trainer on a GPU: device time, peak memory, share of the device's matrix products.

    python benchmarks/gpu.py                       0.5B and 1.5B, four profiles, three rounds, in bfloat16
    python benchmarks/gpu.py --models tiny --prompts 8 --dtype fp32     a trial that runs on a CPU, too
    python benchmarks/gpu.py --table               prints the table of what was measured

Random models of the shapes of Qwen2.5. Each trainer is a process of its own, which trains on a few rows first, so that
what is compiled or chosen once is. Measured are then the reference pass and the training, with the device waited for.
TRL comes as it is, and at its best here: no checkpointing, reference log-probs first. The share of the peak counts what
must be computed, each prompt once, against the largest matrix product that the device was seen to do.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import speed_assets
from speed import BATCH, append, facts, read

HERE = Path(__file__).resolve().parent
MODELS = {
    # hidden, layers, feed-forward, heads, key-value heads, vocabulary
    "0.5B": (896, 24, 4864, 14, 2, 151936),
    "1.5B": (1536, 28, 8960, 12, 2, 151936),
    "tiny": (64, 2, 128, 4, 2, 32768),
}
TRAINERS = {
    "trl": ("trl_dpo", []),
    "trl_best": ("trl_dpo", ["--best", "--micro=8"]),
    "prefine": ("candidate", []),
}
TIMED = {
    "trl_dpo": [
        ("trl.trainer.dpo_trainer", "DPOTrainer", "_precompute_ref_logps"),
        ("trl.trainer.dpo_trainer", "DPOTrainer", "train"),
    ],
    "candidate": [("prefine.train.stage", None, "add_reference"), ("prefine.train.trainer", "Trainer", "run")],
}
"""Where the time of a trainer goes that does not end with its start: reference pass and training."""


def make(folder: Path, name: str, rows: int) -> None:
    """The tokenizer and rows of `speed_assets`, once, and a random model of a shape."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    if not (folder / "list4.jsonl").exists():
        speed_assets.make(folder, rows=rows, hidden=64, layers=1)
    if (folder / name / "config.json").exists():
        return
    hidden, layers, inner, heads, groups, vocabulary = MODELS[name]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / name)
    AutoTokenizer.from_pretrained(folder / "model").save_pretrained(folder / name)


def one(spec: dict) -> dict:
    """Train on a few rows, then measure on all of them; in this process."""
    import torch

    module, flags = TRAINERS[spec["trainer"]]
    spent: list[float] = []
    for where, owner, name in TIMED[module]:
        place = importlib.import_module(where)
        watch(place if owner is None else getattr(place, owner), name, spent)
    for prompts in (min(2 * spec["batch"], spec["prompts"]), spec["prompts"]):
        spent.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        given = {"pairs": prompts, **{k: spec[k] for k in ("model", "data", "batch", "dtype", "threads")}}
        with tempfile.TemporaryDirectory() as folder:
            command = [*flags, f"--save={folder}/saved", *(f"--{k}={v}" for k, v in given.items())]
            importlib.import_module(module).main(command)
    from prefine.train.memory import peak_memory_mb

    return {"device_seconds": round(sum(spent), 4), "peak_memory_mb": round(peak_memory_mb(), 1), "peak": peak()}


def watch(owner: Any, name: str, spent: list[float]) -> None:
    """Add the time of each call to the list, from an idle device to an idle device."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def timed(*given: Any, **more: Any) -> Any:
        wait()
        began = time.perf_counter()
        found = real(*given, **more)
        wait()
        spent.append(time.perf_counter() - began)
        return found

    setattr(owner, name, timed)


def wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak() -> float:
    """TFLOP/s of a large matrix product on this device, in bfloat16 on a GPU: the best of ten."""
    import torch

    gpu = torch.cuda.is_available()
    n, dtype = (8192, torch.bfloat16) if gpu else (512, torch.float32)
    a = torch.randn(n, n, device="cuda" if gpu else "cpu", dtype=dtype)
    best = float("inf")
    for _ in range(10):
        wait()
        began = time.perf_counter()
        a @ a
        wait()
        best = min(best, time.perf_counter() - began)
    return round(2 * n**3 / best / 1e12, 4)


def work(name: str, assets: Path, profile: str, prompts: int) -> tuple[int, float]:
    """Unique tokens of the rows, and TFLOP that a reference pass and a training on them must do."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assets / "model")
    hidden, layers, inner, heads, groups, vocabulary = MODELS[name]
    keys = hidden * 2 * groups * (hidden // heads)
    layer = keys + 2 * hidden * hidden + 3 * hidden * inner
    tokens, flops = 0, 0.0
    for line in (assets / f"{profile}.jsonl").read_text().splitlines()[:prompts]:
        row = json.loads(line)
        prompt = len(tokenizer(row["prompt"])["input_ids"])
        answers = [len(tokenizer(x)["input_ids"]) + 1 for x in row.get("responses") or [row["chosen"], row["rejected"]]]
        size = prompt + sum(answers)
        pairs = prompt**2 / 2 + sum(prompt * r + r * r / 2 for r in answers)
        unread = (prompt - 1) * (layer - keys)
        products = 2 * (layers * layer * size - unread) + 2 * hidden * vocabulary * sum(answers)
        tokens, flops = tokens + size, flops + 4 * products + 4.5 * layers * 4 * hidden * pairs
    return tokens, flops / 1e12


def table(rows: list[dict]) -> str:
    """Medians over rounds, and of ratios inside rounds, as Markdown."""
    lines = [
        "| model | profile | time of TRL as it comes | at its best | memory of both | tokens / s | share of peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, profile in dict.fromkeys((r["model"], r["profile"]) for r in rows):
        rounds: dict[str, dict[str, dict]] = {}
        for r in rows:
            if (r["model"], r["profile"]) == (model, profile):
                rounds.setdefault(r["round"], {})[r["trainer"]] = r
        whole = [x for x in rounds.values() if x.keys() == TRAINERS.keys()]
        if not whole:
            continue
        ratio = {
            (o, f): median(float(x[o][f]) / float(x["prefine"][f]) for x in whole)
            for o in ("trl", "trl_best")
            for f in ("device_seconds", "peak_memory_mb")
        }
        speed = median(float(x["prefine"]["unique_tokens"]) / float(x["prefine"]["device_seconds"]) for x in whole)
        share = median(float(x["prefine"]["share_of_peak"]) for x in whole)
        cells = [f"{ratio[o, 'device_seconds']:.2f}x" for o in ("trl", "trl_best")]
        memory = " / ".join(f"{ratio[o, 'peak_memory_mb']:.2f}x" for o in ("trl", "trl_best"))
        lines.append(f"| {model} | {profile} | {' | '.join(cells)} | {memory} | {speed:,.0f} | {share:.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="0.5B,1.5B")
    parser.add_argument("--profiles", default=",".join(BATCH))
    parser.add_argument("--trainers", default=",".join(TRAINERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=256, help="rows of a measurement")
    parser.add_argument("--batch", type=int, default=0, help="prompts of a step; 0: 8, and 4 for lists")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--assets", default="runs/gpu-assets")
    parser.add_argument("--csv", default=str(HERE / "results" / "gpu.csv"), help="rows are added to it")
    parser.add_argument("--one", help="measure this alone, given as JSON")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    a = parser.parse_args()
    if a.one:
        print(json.dumps(one(json.loads(a.one))))
        return
    if a.table:
        print(table(read(Path(a.csv))))
        return
    for name in a.models.split(","):
        make(Path(a.assets), name, max(256, a.prompts))
    measure(a)
    print(table(read(Path(a.csv))))


def measure(a: argparse.Namespace) -> None:
    """Every trainer on every profile with every model, in turns; rows are written as they come."""
    assets, known = Path(a.assets), facts()
    names = a.trainers.split(",")
    for number in range(a.rounds):
        for model in a.models.split(","):
            for profile in a.profiles.split(","):
                tokens, flops = work(model, assets, profile, a.prompts)
                for trainer in names if number % 2 == 0 else names[::-1]:
                    spec = {"trainer": trainer, "prompts": a.prompts, "batch": a.batch or BATCH[profile]}
                    spec |= {"dtype": a.dtype, "threads": a.threads}
                    files = {"model": str(assets / model), "data": str(assets / f"{profile}.jsonl")}
                    command = [sys.executable, __file__, "--one", json.dumps({**spec, **files})]
                    ran = subprocess.run(command, capture_output=True, text=True)
                    if ran.returncode:
                        print(f"{model} {profile} {trainer} failed: {ran.stderr[-2000:]}", flush=True)
                        continue
                    found = json.loads(ran.stdout.splitlines()[-1])
                    rate = flops / found["device_seconds"]
                    row = {"model": model, "profile": profile, "round": number, **spec, "unique_tokens": tokens}
                    row |= {**found, "tflops": round(rate, 4), "share_of_peak": round(rate / found["peak"], 4), **known}
                    append(Path(a.csv), [row])
                    print(row, flush=True)


if __name__ == "__main__":
    main()
