"""Training speed and memory beside TRL's DPO trainer: the same model, rows, batch and optimizer, in the same run.

    python benchmarks/speed.py [--profiles chat,long,short,list4] [--rounds 3] [--sizes 8,16] [--dtype fp32]

Each trainer is a command of its own, timed from outside at two sizes. What counts is the cost of what the larger has
more, so that start-up and imports cancel; a reference pass is part of it. The trainers take turns, and ratios are taken
inside a round, so that a busy machine hurts all alike. CPU time is that of the process (user and system). One step over
one whole batch is compared, too: the cosine of prefine's change of the weights with TRL's.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import speed_assets

HERE = Path(__file__).resolve().parent
TRAINERS = {"trl": ["trl_dpo.py"], "trl_best": ["trl_dpo.py", "--best"], "prefine": ["candidate.py"]}


def timed(command: list[str], threads: int) -> dict[str, float]:
    """CPU and wall seconds and the peak of resident memory in MB of a command; a failing one is an error."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)}\n{log.read()[-2000:].decode(errors='replace')}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss_mb": usage.ru_maxrss / 1024}


def unique_tokens(assets: Path, profile: str, rows: int) -> int:
    """Tokens of the first rows, each prompt once, each response with its end."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assets / "model")
    total = 0
    for line in (assets / f"{profile}.jsonl").read_text().splitlines()[:rows]:
        row = json.loads(line)
        answers = row.get("responses") or [row["chosen"], row["rejected"]]
        total += len(tokenizer(row["prompt"])["input_ids"]) + sum(len(tokenizer(x)["input_ids"]) + 1 for x in answers)
    return total


def cosine(start: Path, one: Path, other: Path) -> float:
    """Of two changes of the same weights."""
    import torch
    from safetensors.torch import load_file

    begin, a, b = (load_file(p / "model.safetensors") for p in (start, one, other))
    x, y = (torch.cat([(m[k].float() - begin[k].float()).flatten() for k in begin]) for m in (a, b))
    return float(torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=0))


def measure(a: argparse.Namespace, profile: str) -> list[dict]:
    """One row for each round and trainer."""
    assets, sizes = Path(a.assets), [int(x) for x in a.sizes.split(",")]
    tokens = [unique_tokens(assets, profile, n) for n in sizes]
    out = []
    for number in range(a.rounds):
        names = list(TRAINERS) if number % 2 == 0 else list(TRAINERS)[::-1]
        saved: dict[str, Path] = {}
        rows = {}
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                found = []
                for size in sizes:
                    save = Path(folder, f"{name}-{size}")
                    script, *flags = TRAINERS[name]
                    settings = {
                        "model": assets / "model",
                        "data": assets / f"{profile}.jsonl",
                        "pairs": size,
                        "batch": sizes[0],
                        "dtype": a.dtype,
                        "save": save,
                        "threads": a.threads,
                    }
                    command = [sys.executable, str(HERE / script), *flags]
                    found.append(timed(command + [f"--{k}={v}" for k, v in settings.items()], a.threads))
                    if size == sizes[0]:
                        saved[name] = save
                more = tokens[-1] - tokens[0]
                rows[name] = {
                    "profile": profile,
                    "round": number,
                    "trainer": name,
                    "dtype": a.dtype,
                    "unique_tokens": more,
                    "cpu_seconds": round(found[-1]["cpu"] - found[0]["cpu"], 3),
                    "wall_seconds": round(found[-1]["wall"] - found[0]["wall"], 3),
                    "peak_rss_mb": round(max(f["rss_mb"] for f in found), 1),
                }
            if profile != "list4":
                rows["prefine"]["update_cosine"] = round(cosine(assets / "model", saved["trl"], saved["prefine"]), 9)
        out += [rows[name] for name in TRAINERS]
        print(profile, number, {n: (rows[n]["cpu_seconds"], rows[n]["peak_rss_mb"]) for n in TRAINERS}, flush=True)
    return out


def table(rows: list[dict]) -> str:
    """Medians of the ratios inside rounds, as Markdown."""
    lines = ["| profile | against TRL as it comes | against TRL at its best | peak memory | tokens per CPU second |"]
    lines.append("|---|---|---|---|---|")
    for profile in dict.fromkeys(r["profile"] for r in rows):
        rounds = {}
        for r in rows:
            if r["profile"] == profile:
                rounds.setdefault(r["round"], {})[r["trainer"]] = r
        cells = []
        for other in ("trl", "trl_best"):
            ratios = [x[other]["cpu_seconds"] / x["prefine"]["cpu_seconds"] for x in rounds.values()]
            cells.append(f"{median(ratios):.1f}x [{min(ratios):.1f}, {max(ratios):.1f}]")
        memory = [
            median(x[o]["peak_rss_mb"] / x["prefine"]["peak_rss_mb"] for x in rounds.values())
            for o in ("trl", "trl_best")
        ]
        speed = median(x["prefine"]["unique_tokens"] / x["prefine"]["cpu_seconds"] for x in rounds.values())
        lines.append(
            f"| {profile} | {cells[0]} | {cells[1]} | {memory[0]:.1f}x / {memory[1]:.1f}x less | {speed:.0f} |"
        )
    return "\n".join(lines)


def facts() -> dict[str, str]:
    """Where and with what the numbers were measured."""
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "trl"))
    return {"hardware": f"{cpu}, {os.cpu_count()} cores", "python": platform.python_version(), "versions": packages,
            "commit": commit.strip(), "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", default="runs/speed-assets")
    parser.add_argument("--profiles", default="chat,long,short,list4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="8,16", help="rows of the two runs; the first is the batch")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", default=str(HERE / "results" / "speed.csv"))
    a = parser.parse_args()
    if not (Path(a.assets) / "list4.jsonl").exists():
        speed_assets.make(Path(a.assets))
    known = facts()
    rows: list[dict] = []
    for profile in a.profiles.split(","):
        rows += [{**r, **known} for r in measure(a, profile)]
        fields = list(dict.fromkeys(k for r in rows for k in r))
        Path(a.csv).parent.mkdir(parents=True, exist_ok=True)
        with open(a.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows(rows)
    print(f"\n{known['hardware']}; {known['versions']}; {a.dtype}, {a.threads} thread(s), commit {known['commit']}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
