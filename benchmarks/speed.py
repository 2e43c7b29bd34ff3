"""Training speed and memory beside TRL's DPO trainer: the same model, rows, batch and optimizer, in the same run.

    python benchmarks/speed.py [--profiles chat,long,short,list4] [--rounds 3] [--dtype fp32]
    python benchmarks/speed.py --tables      writes the tables of docs/performance.md and README.md from the results

Each trainer is a command of its own, timed from outside with three prompts and with a whole batch. What counts is what
the batch costs more, so that start-up, imports and checks cancel: prefine tries its layout on the two shortest items,
and lengthens them up to the longest, so these are the three. A reference pass is part of it. The trainers take turns,
and ratios are taken inside a round, so that a busy machine hurts all alike. CPU time is that of the process (user and
system). The one step over the whole batch is compared, too: the cosine of prefine's change of the weights with TRL's.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import speed_assets

T = TypeVar("T")
HERE = Path(__file__).resolve().parent
TRAINERS = {"trl": ["trl_dpo.py"], "trl_best": ["trl_dpo.py", "--best"], "prefine": ["candidate.py"]}
OTHERS = {"trl": "TRL as it comes", "trl_best": "TRL at its best"}
LEAST = 3
BATCH = {"chat": 8, "long": 8, "short": 8, "list4": 6}
"""Prompts of a step; three pairs for each in TRL's in the last profile."""
MARKS = ("<!-- begin: written by benchmarks/speed.py -->", "<!-- end of speed -->")


def apart(function: Callable[..., T], *given: Any) -> T:
    """What a function gives in a process of its own: a child's peak of memory is never below its parent's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


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


def arranged(assets: Path, profile: str, count: int, file: Path) -> list[int]:
    """Write the first rows of a profile to `file`, the two with the shortest paths and that with the longest in front.

    Returns the unique tokens of the first `LEAST` rows and of all: each prompt once, each response with its end.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assets / "model")
    lines = (assets / f"{profile}.jsonl").read_text().splitlines()[:count]
    sizes = []
    for line in lines:
        row = json.loads(line)
        answers = row.get("responses") or [row["chosen"], row["rejected"]]
        prompt, *lengths = (len(tokenizer(x)["input_ids"]) for x in (row["prompt"], *answers))
        sizes.append((prompt + max(lengths), prompt + sum(lengths) + len(lengths)))
    by_path = sorted(range(count), key=lambda i: sizes[i][0])
    order = [*by_path[:2], *by_path[-1:], *by_path[2:-1]]
    file.write_text("".join(lines[i] + "\n" for i in order))
    return [sum(sizes[i][1] for i in order[:n]) for n in (LEAST, count)]


def cosine(start: Path, one: Path, other: Path) -> float:
    """Of two changes of the same weights."""
    import torch
    from safetensors.torch import load_file

    begin, a, b = (load_file(p / "model.safetensors") for p in (start, one, other))
    x, y = (torch.cat([(m[k].float() - begin[k].float()).flatten() for k in begin]) for m in (a, b))
    return float(torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=0))


def measure(a: argparse.Namespace, profile: str, number: int) -> list[dict]:
    """One round of a profile: a row for each trainer."""
    assets, batch = Path(a.assets), BATCH[profile]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "rows.jsonl")
        few, all_of_them = apart(arranged, assets, profile, batch, data)
        for name in list(TRAINERS) if number % 2 == 0 else list(TRAINERS)[::-1]:
            script, *flags = TRAINERS[name]
            given = {"model": assets / "model", "data": data, "save": Path(folder, name)}
            command = [sys.executable, str(HERE / script), *flags, f"--dtype={a.dtype}", f"--threads={a.threads}"]
            command += [f"--{k}={v}" for k, v in given.items()]
            one, whole = (timed([*command, f"--pairs={n}", f"--batch={n}"], a.threads) for n in (LEAST, batch))
            rows[name] = {
                "profile": profile,
                "round": number,
                "trainer": name,
                "dtype": a.dtype,
                "threads": a.threads,
                "prompts": batch,
                "unique_tokens": all_of_them - few,
                "cpu_seconds": round(whole["cpu"] - one["cpu"], 3),
                "wall_seconds": round(whole["wall"] - one["wall"], 3),
                "peak_rss_mb": round(whole["rss_mb"], 1),
                "imports_rss_mb": round(imports(name, a.threads), 1),
                "update_cosine": "",
            }
        if profile != "list4":
            found = apart(cosine, assets / "model", Path(folder, "trl"), Path(folder, "prefine"))
            rows["prefine"]["update_cosine"] = round(found, 9)
    return [rows[name] for name in TRAINERS]


@functools.cache
def imports(name: str, threads: int) -> float:
    """Peak of resident memory in MB of a process that only imports what a trainer needs."""
    wanted = "prefine.train.stage" if name == "prefine" else "datasets, trl.trainer.dpo_trainer"
    return timed([sys.executable, "-c", f"import torch, transformers.models.qwen3, {wanted}"], threads)["rss_mb"]


def newest(rows: list[dict]) -> list[dict]:
    """The rows of the commit and precision that were measured last; others are another program's."""
    return [r for r in rows if all(r[key] == rows[-1][key] for key in ("commit", "dtype", "threads", "hardware"))]


def compared(rows: list[dict], profile: str) -> dict | None:
    """Medians, smallest and largest values of the ratios inside the rounds of a profile; None without a round."""
    rounds: dict[tuple, dict[str, dict]] = {}
    for r in rows:
        if r["profile"] == profile:
            rounds.setdefault((r["date"], r["commit"], r["round"]), {})[r["trainer"]] = r
    whole = [x for x in rounds.values() if x.keys() == TRAINERS.keys()]
    if not whole:
        return None

    def ratios(field: str, other: str, less: str = "") -> list[float]:
        cost = [[float(x[n][field]) - (float(x[n][less]) if less else 0.0) for n in (other, "prefine")] for x in whole]
        return [a / b for a, b in cost]

    return {
        "rounds": len(whole),
        "time": {o: ratios("cpu_seconds", o) for o in OTHERS},
        "memory": {o: median(ratios("peak_rss_mb", o, "imports_rss_mb")) for o in OTHERS},
        "speed": median(float(x["prefine"]["unique_tokens"]) / float(x["prefine"]["cpu_seconds"]) for x in whole),
        "cosine": min((float(x["prefine"]["update_cosine"] or 1) for x in whole), default=1.0),
    }


def table(rows: list[dict]) -> str:
    """Medians of the ratios inside rounds, as Markdown."""
    lines = [
        "| profile | rounds | time of TRL as it comes | time of TRL at its best | memory of both, above imports "
        "| tokens per CPU second | cosine of the two steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for profile in dict.fromkeys(r["profile"] for r in rows):
        found = compared(rows, profile)
        if found is None:
            continue
        cells = [f"{median(x):.1f}x [{min(x):.1f}, {max(x):.1f}]" for x in found["time"].values()]
        memory = " / ".join(f"{x:.1f}x" for x in found["memory"].values())
        same = "-" if profile == "list4" else f"{found['cosine']:.8f}"
        lines.append(
            f"| {profile} | {found['rounds']} | {' | '.join(cells)} | {memory} | {found['speed']:.0f} | {same} |"
        )
    known = rows[-1]
    where = f"{known['hardware']}, {known['threads']} thread; {known['versions']}; {known['dtype']}"
    return "\n".join([*lines, "", f"Measured on {where}; {known['date']}, commit {known['commit']}."])


def short_table(rows: list[dict]) -> str:
    """For the README: the medians alone."""
    profiles = {p: x for p in dict.fromkeys(r["profile"] for r in rows) if (x := compared(rows, p))}
    lines = [f"| | {' | '.join(profiles)} |", "|---" * (len(profiles) + 1) + "|"]
    for other, name in OTHERS.items():
        cells = [f"{median(x['time'][other]):.1f}x, {x['memory'][other]:.1f}x" for x in profiles.values()]
        lines.append(f"| {name}: time, memory | {' | '.join(cells)} |")
    known = rows[-1]
    return "\n".join([*lines, "", f"{known['hardware']}, {known['threads']} thread, {known['dtype']}."])


def write_between(path: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Put the text between a page's marks."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not end:
        raise SystemExit(f"{path} lacks the marks '{marks[0]}' and '{marks[1]}'")
    path.write_text(f"{before}{mark}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def append(path: Path, rows: list[dict]) -> None:
    """Add rows to a CSV file, which is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def facts() -> dict[str, str]:
    """Where and with what the numbers were measured."""
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "trl"))
    import torch

    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return {
        "hardware": f"{gpu}{cpu}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": packages,
        "commit": commit.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", default="runs/speed-assets")
    parser.add_argument("--profiles", default=",".join(BATCH))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", default=str(HERE / "results" / "speed.csv"), help="rows are added to it")
    parser.add_argument("--commit", help="what stands in the rows; by default that of this repository")
    parser.add_argument("--tables", action="store_true", help="measure nothing; write the tables from the CSV file")
    a = parser.parse_args()
    if a.tables:
        rows = newest(read(Path(a.csv)))
        write_between(HERE.parent / "docs" / "performance.md", table(rows))
        write_between(HERE.parent / "README.md", short_table(rows))
        return
    if not (Path(a.assets) / "list4.jsonl").exists():
        apart(speed_assets.make, Path(a.assets))
    known = facts() | ({"commit": a.commit} if a.commit else {})
    for number in range(a.rounds):
        for profile in a.profiles.split(","):
            rows = [{**r, **known} for r in measure(a, profile, number)]
            append(Path(a.csv), rows)
            print(profile, number, {r["trainer"]: (r["cpu_seconds"], r["peak_rss_mb"]) for r in rows}, flush=True)
    print(table(newest(read(Path(a.csv)))))


if __name__ == "__main__":
    main()
