"""How one training micro-batch grows: with length, vocabulary, responses and model size; time and memory.

    python benchmarks/growth.py            measures what is missing, draws docs/images/growth.svg, writes the table
    python benchmarks/growth.py --again    measures all points anew
    python benchmarks/growth.py --plot     draws and writes alone

Forward and backward pass of one prompt tree on a random Qwen3-shaped model, float32, in a process of its own for each
point: CPU seconds of the second of two passes, and the peak of memory above what the process held with the model
loaded and its gradients allocated. `separate` is one response per row, the way of trainers that do not share prompts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from speed import facts, write_between

HERE = Path(__file__).resolve().parent
MARKS = ("<!-- begin: written by benchmarks/growth.py -->", "<!-- end of growth -->")
PICTURE = HERE.parent / "docs" / "images" / "growth.svg"
BASE = {"prompt": 256, "response": 256, "responses": 2, "vocabulary": 32768, "hidden": 256, "layers": 4}
SHORT = {"prompt": 128, "response": 128}
AXES = {
    "length": [{"prompt": n // 2, "response": n // 4} for n in (512, 1024, 2048, 4096, 8192)],
    "vocabulary": [{"vocabulary": n} for n in (32768, 65536, 131072, 262144)],
    "responses": [{"responses": n} for n in (2, 4, 8, 16)],
    "model": [{"hidden": h, "layers": n, **SHORT} for h, n in ((384, 6), (512, 8), (768, 12), (1024, 20))],
}
POINT = ("axis", *BASE, "mode")
MODES = {"cascade": "a prompt once for its responses", "separate": "one response per row"}


def point(spec: dict) -> dict:
    """Measure one point in this process."""
    import time

    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from prefine.data.layout import Encoded
    from prefine.models.masters import Masters
    from prefine.models.policy import Policy
    from prefine.models.trees import pack
    from prefine.train.memory import peak_memory_mb, reset_peak_memory

    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = spec["hidden"]
    config = Qwen3Config(
        vocab_size=spec["vocabulary"],
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=spec["layers"],
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        head_dim=64,
        max_position_embeddings=16384,
        tie_word_embeddings=True,
    )
    policy = Policy(Qwen3ForCausalLM(config))
    policy.gather_in_place(Masters(policy.model).room)
    draw = torch.randint(3, spec["vocabulary"], (spec["prompt"] + spec["responses"] * spec["response"],)).tolist()
    answers = [draw[spec["prompt"] + i * spec["response"] :][: spec["response"]] for i in range(spec["responses"])]
    tree = Encoded(draw[: spec["prompt"]], answers, [[True] * len(x) for x in answers], {})
    packed = pack([tree], mode=spec["mode"])
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    policy.logps(pack([Encoded(draw[:8], [draw[8:16]], [[True] * 8], {})], mode=spec["mode"])).sum().backward()
    reset_peak_memory()
    before = peak_memory_mb()
    for _ in range(2):
        began = time.process_time()
        policy.logps(packed).sum().backward()
        seconds = time.process_time() - began
    return {
        "tokens": packed.tokens,
        "cpu_seconds": round(seconds, 3),
        "memory_mb": round(peak_memory_mb() - before, 1),
        "parameters": sum(p.numel() for p in policy.parameters()),
    }


def measure(axes: list[str], path: Path, *, again: bool) -> None:
    """Every point of the axes that is missing, or all of them, in a process of its own; other rows stay."""
    rows = [row for row in read(path) if not again or row["axis"] not in axes]
    done = {tuple(row[key] for key in POINT) for row in rows}
    known = {k: v for k, v in facts().items() if k != "python"}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for axis in axes:
        for change in AXES[axis]:
            for mode in MODES:
                spec = {**BASE, **change, "mode": mode}
                if tuple(str({"axis": axis, **spec}[key]) for key in POINT) in done:
                    continue
                command = [sys.executable, __file__, "--point", json.dumps(spec)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
                rows.append({"axis": axis, **spec, **found, **known})
                print(axis, change, mode, found, flush=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[-1]))
                    writer.writeheader()
                    writer.writerows(rows)


def read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict]) -> str:
    """The points as Markdown, trees beside separate rows."""
    lines = [
        "| axis | point | tokens (one response per row) | CPU seconds | memory, MB |",
        "|---|---|---|---|---|",
    ]
    names = {
        "length": lambda r: f"prompt {r['prompt']}, responses {r['response']}",
        "vocabulary": lambda r: f"{int(r['vocabulary']):,} tokens",
        "responses": lambda r: f"{r['responses']} responses",
        "model": lambda r: f"{int(r['parameters']) / 1e6:.0f}M parameters",
    }
    for tree in rows:
        if tree["mode"] != "cascade":
            continue
        same = [r for r in rows if r["mode"] != "cascade" and all(r[k] == tree[k] for k in ("axis", *BASE))]
        cells = [
            tree[field] + (f" ({same[0][field]})" if same else "") for field in ("tokens", "cpu_seconds", "memory_mb")
        ]
        lines.append(f"| {tree['axis']} | {names[tree['axis']](tree)} | {' | '.join(cells)} |")
    last = rows[-1]
    return "\n".join([*lines, "", f"Measured on {last['hardware']}, one thread; {last['versions']}; {last['date']}."])


def draw(rows: list[dict], path: Path) -> None:
    """Two rows of pictures, seconds and memory, with a column for each axis."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 9})
    across = {
        "length": ("tokens of the tree", lambda r: int(r["prompt"]) + int(r["responses"]) * int(r["response"])),
        "vocabulary": ("vocabulary", lambda r: int(r["vocabulary"])),
        "responses": ("responses to a prompt", lambda r: int(r["responses"])),
        "model": ("parameters (millions)", lambda r: int(r["parameters"]) / 1e6),
    }
    down = {"cpu_seconds": "CPU seconds", "memory_mb": "memory (MB)"}
    figure, grid = plt.subplots(2, len(across), figsize=(13, 5.5), layout="constrained")
    for column, (axis, (label, value)) in enumerate(across.items()):
        for row, (field, unit) in enumerate(down.items()):
            picture = grid[row][column]
            for mode, name in MODES.items():
                chosen = [r for r in rows if r["axis"] == axis and r["mode"] == mode]
                picture.plot([value(r) for r in chosen], [float(r[field]) for r in chosen], marker="o", label=name)
            picture.set_xlabel(label if row else "")
            picture.set_ylabel("" if column else unit)
            picture.set_xlim(left=0)
            picture.set_ylim(bottom=0)
            picture.grid(alpha=0.3)
    grid[0][0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default=str(HERE / "results" / "growth.csv"))
    parser.add_argument("--axes", default=",".join(AXES), help="those to measure; rows of others stay as they are")
    parser.add_argument("--again", action="store_true", help="measure points that were measured before, too")
    parser.add_argument("--point", help="measure this one point, given as JSON")
    parser.add_argument("--plot", action="store_true", help="only draw what was measured")
    a = parser.parse_args()
    if a.point:
        print(json.dumps(point(json.loads(a.point))))
        return
    if not a.plot:
        measure(a.axes.split(","), Path(a.csv), again=a.again)
    rows = read(Path(a.csv))
    draw(rows, PICTURE)
    write_between(HERE.parent / "docs" / "performance.md", table(rows), MARKS)


if __name__ == "__main__":
    main()
