"""Arithmetic of a training step beside TRL's DPO trainer: the operations of all matrix products and of attention.

    python benchmarks/operations.py [--profiles chat,long,short,list4]
    python benchmarks/operations.py --tables      writes the table of docs/performance.md from the results

The trainers, rows and settings are those of `speed.py`, and as there what counts is what a whole batch costs more than
the first three prompts. Operations are counted while the trainers run, by PyTorch's own counter. TRL's products
themselves are left out: their number depends on shapes alone, which constants have, too. (Prefine would notice.) Unlike
seconds, operations are the same on every CPU and in every precision: they tell how much of a ratio of times is work
left out, and how much is work done faster.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import speed
import speed_assets

FILE = speed.HERE / "results" / "operations.csv"
MARKS = ("<!-- begin: written by benchmarks/operations.py -->", "<!-- end of operations -->")


def attention(query: Any, key: Any, products: int, causal: bool) -> int:
    """Operations of products of queries with keys, shapes (batch, heads, tokens, size).

    A causal one leaves out the keys behind a query.
    """
    batch, heads, rows, size = query
    columns = key[2]
    pairs = rows * (rows + 1) // 2 if causal else rows * columns
    return 2 * batch * heads * pairs * size * products


def forward(query: Any, key: Any, value: Any, dropout: float = 0.0, causal: bool = False, **_: Any) -> int:
    """Scores, and their product with the values."""
    return attention(query, key, 2, causal)


def backward(
    grad: Any, query: Any, key: Any, value: Any, out: Any, lse: Any, dropout: float, causal: bool, **_: Any
) -> int:
    """Scores again, and the gradients of values, probabilities, queries and keys."""
    return attention(query, key, 5, causal)


def constants() -> Any:
    """A mode in which matrix products and attention give constants, at once."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    aten = torch.ops.aten

    def product(a: Any, b: Any, out: Any = None) -> Any:
        return a.new_full((*a.shape[:-1], b.shape[-1]), 1e-3) if out is None else out.fill_(1e-3)

    made = {
        aten.mm: product,
        aten.bmm: product,
        aten.addmm: lambda total, a, b, **_: product(a, b),
        aten.addmm_: lambda total, *_, **__: total,
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, *_, **__: (
            torch.full_like(q, 1e-3),
            q.new_zeros(q.shape[:3], dtype=torch.float32),
        ),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, **__: tuple(
            torch.full_like(x, 1e-3) for x in (q, k, v)
        ),
    }

    class Constants(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return made.get(func.overloadpacket, func)(*args, **(kwargs or {}))

    return Constants()


def run(script: str, given: list[str]) -> int:
    """Operations of one trainer's command."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    more = {
        aten.addmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * b[1],
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    spared = contextlib.nullcontext() if script == "candidate.py" else constants()
    with spared, FlopCounterMode(display=False, custom_mapping=more) as counter:
        importlib.import_module(Path(script).stem).main(given)
    return counter.get_total_flops()


def counted(name: str, given: list[str], sizes: list[int]) -> list[int]:
    """The same for the first rows, as many as each size says, in a process of its own."""
    script, *flags = speed.TRAINERS[name]
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--run",
        script,
        ",".join(map(str, sizes)),
        *flags,
        *given,
    ]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"{' '.join(command)}\n{found.stderr[-2000:]}")
    return json.loads(found.stdout.splitlines()[-1])


def measure(assets: Path, profile: str) -> list[dict]:
    """A row for each trainer."""
    batch, out = speed.BATCH[profile], []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "rows.jsonl")
        few, tokens = speed.apart(speed.arranged, assets, profile, batch, data)
        for name in speed.TRAINERS:
            given = [f"--model={assets / 'model'}", f"--data={data}", f"--save={Path(folder, name)}", "--dtype=fp32"]
            less, whole = counted(name, given, [speed.LEAST, batch])
            gflop = round((whole - less) / 1e9, 3)
            out.append({"profile": profile, "trainer": name, "unique_tokens": tokens - few, "gflop": gflop})
    return out


def table(rows: list[dict], times: list[dict]) -> str:
    """Operations of the trainers, and their GFLOP/s by the seconds of `speed.py`, as Markdown."""
    lines = [
        "| profile | GFLOP for a token | of TRL as it comes | of TRL at its best | GFLOP/s: prefine, TRL as it comes, "
        "TRL at its best |",
        "|---|---|---|---|---|",
    ]
    for profile in dict.fromkeys(r["profile"] for r in rows):
        found = {r["trainer"]: r for r in rows if r["profile"] == profile}
        ours = float(found["prefine"]["gflop"])
        cells = [f"{float(found[other]['gflop']) / ours:.1f}x" for other in speed.OTHERS]
        rates = []
        for name in ("prefine", *speed.OTHERS):
            seconds = [float(r["cpu_seconds"]) for r in times if (r["profile"], r["trainer"]) == (profile, name)]
            rates.append(f"{float(found[name]['gflop']) / median(seconds):.0f}" if seconds else "-")
        token = ours / float(found["prefine"]["unique_tokens"])
        lines.append(f"| {profile} | {token:.3f} | {' | '.join(cells)} | {', '.join(rates)} |")
    return "\n".join([*lines, "", f"Counted with {rows[-1]['versions']}; commit {rows[-1]['commit']}."])


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        script, sizes, *given = sys.argv[2:]
        print(json.dumps([run(script, [*given, f"--pairs={n}", f"--batch={n}"]) for n in sizes.split(",")]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", default="runs/speed-assets")
    parser.add_argument("--profiles", default=",".join(speed.BATCH))
    parser.add_argument("--csv", default=str(FILE), help="rows are added to it")
    parser.add_argument("--tables", action="store_true", help="count nothing; write the table from the CSV files")
    a = parser.parse_args()
    if a.tables:
        times = speed.newest(speed.read(speed.HERE / "results" / "speed.csv"))
        page = speed.HERE.parent / "docs" / "performance.md"
        rows = speed.read(Path(a.csv))
        newest = [r for r in rows if r["commit"] == rows[-1]["commit"]]
        speed.write_between(page, table(newest, times), MARKS)
        return
    assets = Path(a.assets)
    if not (assets / "list4.jsonl").exists():
        speed.apart(speed_assets.make, assets)
    known = speed.facts()
    for profile in a.profiles.split(","):
        rows = [{**r, **known} for r in measure(assets, profile)]
        speed.append(Path(a.csv), rows)
        print(profile, {r["trainer"]: r["gflop"] for r in rows}, flush=True)


if __name__ == "__main__":
    main()
