"""Cleaning and pairing 200,000 prompts with four responses each: time and peak memory of every step.

    python benchmarks/data_scale.py

Writes made-up rows (1 % of the prompts again in other case, 2 % again with a word changed), then runs import, dedup,
split, pair and export, each as a process of its own, and `datasets.map` doing the same pairing beside them. Rows go
to results/data_scale.csv as they come: CPU seconds of the process and its children, wall seconds, rows per CPU second,
the peak of resident memory, the size of what was written.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
VOCABULARY = 20_000
PACKAGES = ("prefine", "pyarrow", "datasketch", "datasets", "numpy")


def generate(path: Path, groups: int) -> None:
    """Always the same rows: prompts of 20 to 80 words, responses of 30 to 150, scores with two decimals."""
    rng = random.Random(0)
    vocabulary = [f"{rng.choice('bcdfghklmnprst')}{rng.choice('aeiou')}{i:x}" for i in range(VOCABULARY)]

    def text(least: int, most: int) -> str:
        return " ".join(rng.choices(vocabulary, k=rng.randint(least, most)))

    prompts: list[str] = []
    with path.open("w") as file:
        for i in range(groups):
            draw = rng.random()
            prompt = text(20, 80)
            if prompts and draw < 0.01:
                prompt = rng.choice(prompts).upper()
            elif prompts and draw < 0.03:
                prompt = rng.choice(prompts).rsplit(" ", 1)[0] + " another"
            elif i % 20 == 0:
                prompts.append(prompt)
            scores = [round(rng.random(), 2) for _ in range(4)]
            row = {"prompt": prompt, "responses": [text(30, 150) for _ in scores], "scores": scores}
            file.write(json.dumps(row) + "\n")


def pair(row: dict) -> dict:
    """What `best_worst` does, for a row of `datasets`."""
    best = max(range(len(row["scores"])), key=row["scores"].__getitem__)
    worst = min(range(len(row["scores"])), key=row["scores"].__getitem__)
    sides = {"chosen": row["responses"][best], "rejected": row["responses"][worst]}
    return {**sides, "score_chosen": row["scores"][best], "score_rejected": row["scores"][worst]}


def with_datasets(step: str, source: str, out: str) -> None:
    """One step of the same with `datasets`, in this process."""
    import datasets

    datasets.disable_progress_bars()
    if step == "load":
        datasets.load_dataset("json", data_files=source, split="train").save_to_disk(out)
        return
    rows = datasets.load_from_disk(source)
    rows = rows.filter(lambda scores: max(scores) > min(scores), input_columns=["scores"])
    rows.map(pair, remove_columns=["responses", "scores"]).save_to_disk(out)


def measure(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a command by itself; what it took."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    peak = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
        "peak_rss_mb": round(peak),
    }


def rows_of(folder: Path) -> int | str:
    manifest = folder / "manifest.json"
    return json.loads(manifest.read_text())["counts"]["rows_out"] if manifest.exists() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=200_000)
    parser.add_argument("--csv", default=str(HERE / "results" / "data_scale.csv"))
    parser.add_argument("--dir", help="where to work; by default a temporary folder that is removed")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="measure these again, in the --dir of a whole run")
    parser.add_argument("--datasets", nargs=3, metavar=("STEP", "SOURCE", "OUT"), help="do one step in this process")
    parser.add_argument("--generate", metavar="FILE", help="only write the rows")
    a = parser.parse_args()
    if a.datasets:
        with_datasets(*a.datasets)
        return
    if a.generate:
        generate(Path(a.generate), a.groups)
        return
    work = Path(a.dir or tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(work / "hf"), "HF_HUB_OFFLINE": "1"}
    prefine = [sys.executable, "-m", "prefine", "data"]
    mine = [sys.executable, __file__]
    at = {
        name: str(work / name)
        for name in ("rows.jsonl", "imported", "unique", "split", "pairs", "trl", "hf-rows", "hf-pairs")
    }
    steps = {
        "generate": ([*mine, "--groups", str(a.groups), "--generate", at["rows.jsonl"]], "rows.jsonl"),
        "import": ([*prefine, "import", at["rows.jsonl"], "--out", at["imported"]], "imported"),
        "dedup": ([*prefine, "dedup", at["imported"], "--out", at["unique"]], "unique"),
        "split": ([*prefine, "split", at["unique"], "--test-fraction", "0.05", "--out", at["split"]], "split"),
        "pair": ([*prefine, "pair", at["split"], "--pairer", "best_worst", "--out", at["pairs"]], "pairs"),
        "export": ([*prefine, "export", at["pairs"], "--to", "trl", "--out", at["trl"]], "trl"),
        "datasets load": ([*mine, "--datasets", "load", at["rows.jsonl"], at["hf-rows"]], "hf-rows"),
        "datasets map": ([*mine, "--datasets", "map", at["hf-rows"], at["hf-pairs"]], "hf-pairs"),
    }
    versions = {name: metadata.version(name) for name in PACKAGES}
    about = {"python": platform.python_version(), **versions, "commit": commit(), "processor": processor()}
    found = []
    if a.only:
        with Path(a.csv).open(newline="") as file:
            found = [row for row in csv.DictReader(file) if row["step"] not in a.only]
    for name, (command, out) in steps.items():
        if a.only and name not in a.only:
            continue
        shutil.rmtree(work / out, ignore_errors=True)
        took = measure(command, environment)
        path = work / out
        size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file())
        speed = round(a.groups / max(took["cpu_seconds"], 0.1))
        row = {"step": name, "groups": a.groups, "rows_out": rows_of(path), **took, "groups_per_cpu_second": speed}
        found.append({**row, "written_mb": round(size / 1e6, 1), **about, "cores": os.cpu_count()})
        found.sort(key=lambda row: list(steps).index(row["step"]))
        print(row, flush=True)
        with Path(a.csv).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]))
            writer.writeheader()
            writer.writerows(found)
    if a.dir is None:
        shutil.rmtree(work)


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip()


def processor() -> str:
    names = (
        [n for n in Path("/proc/cpuinfo").read_text().splitlines() if n.startswith("model name")]
        if Path("/proc/cpuinfo").exists()
        else []
    )
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
