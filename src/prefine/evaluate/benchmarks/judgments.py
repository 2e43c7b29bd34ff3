"""Scoring a file or folder of judgments by the rules of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from prefine.errors import PrefineError, nearest
from prefine.evaluate.benchmarks import alpaca_eval_scores, arena_hard_scores, mt_bench_scores
from prefine.evaluate.benchmarks.reading import files_of
from prefine.evaluate.benchmarks.results import Options, Scored

BENCHMARKS: dict[str, Callable[[Sequence[Path], Options], Scored]] = {
    "alpaca_eval": alpaca_eval_scores.score,
    "arena_hard": arena_hard_scores.score,
    "mt_bench": mt_bench_scores.score,
}


def score(path: Path, benchmark: str, options: Options | None = None) -> Scored:
    """The scores of all models whose judgments are in the file or folder; no judge is called."""
    if benchmark not in BENCHMARKS:
        raise PrefineError(f"there is no benchmark '{benchmark}'{nearest(benchmark, BENCHMARKS)}")
    return BENCHMARKS[benchmark](files_of(path), options or Options())
