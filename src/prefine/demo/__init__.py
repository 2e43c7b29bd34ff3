"""The whole way on the embedded tiny world: sft start, samples, teacher labels, three methods, evaluation, report."""

from __future__ import annotations

import time
from pathlib import Path

from prefine.pipeline import run_recipes
from prefine.progress import Progress
from prefine.recipe.variants import load_variants
from prefine.rundir import RunDir

RECIPE = Path(__file__).parent / "demo.yaml"


def run(*, seeds: int = 1, output: Path = Path("runs/demo"), progress: Progress) -> RunDir:
    """Run the demo `seeds` times into one directory and leave its report.html and results.json.

    Each seed makes its own start and draws its own samples and order of examples; the prompts are the same.
    """
    started = time.monotonic()
    run = RunDir(output)
    for seed in range(seeds):
        own = [f"name={output.name}", f"output_dir={output.parent}", f"seed={seed}"]
        if seeds > 1:
            progress.line(f"seed {seed + 1} of {seeds}")
        run = run_recipes(load_variants(RECIPE, own), progress=progress)
    progress.line(f"demo: {time.monotonic() - started:.0f} s")
    return run
