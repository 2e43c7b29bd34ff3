"""Task benchmarks as leaderboards ran them: the task of lm-evaluation-harness, how many examples, which metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefine.durable import sha256_file
from prefine.schema import digest


@dataclass(frozen=True)
class Benchmark:
    """A task under the name that a recipe gives it.

    `shots` None is the task's own number, `metric` None the first that the task reports; a metric is named with its
    filter, `exact_match,strict-match`.
    """

    name: str
    task: str
    shots: int | None = None
    metric: str | None = None


_PRESETS = (
    Benchmark("arc", "arc_challenge", 25, "acc_norm,none"),
    Benchmark("hellaswag", "hellaswag", 10, "acc_norm,none"),
    Benchmark("mmlu", "mmlu", 5, "acc,none"),
    Benchmark("truthfulqa", "truthfulqa_mc2", 0, "acc,none"),
    Benchmark("winogrande", "winogrande", 5, "acc,none"),
    Benchmark("gsm8k", "gsm8k", 5, "exact_match,strict-match"),
    Benchmark("bbh", "leaderboard_bbh", 3, "acc_norm,none"),
)
PRESETS = {b.name: b for b in _PRESETS}
"""All but BBH as in version 1 of the Open LLM Leaderboard, BBH, which it lacks, as in version 2."""

SUITES = {"open_llm_v1": ("arc", "hellaswag", "mmlu", "truthfulqa", "winogrande", "gsm8k")}
"""Names for several presets at once."""


def benchmarks(names: Sequence[str], shots: int | None = None) -> list[Benchmark]:
    """What the names of a recipe mean, each once: suites, presets, and else the harness's own names of tasks.

    `shots` replaces the numbers of all.
    """
    single = dict.fromkeys(one for name in names for one in SUITES.get(name, (name,)))
    found = [PRESETS.get(name, Benchmark(name, name)) for name in single]
    return [b if shots is None else Benchmark(b.name, b.task, shots, b.metric) for b in found]


def files_digest(folder: str) -> str:
    """What a folder of local tasks hashes to, by the names and bytes of its files."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return digest({str(p.relative_to(folder)): sha256_file(p) for p in files})
