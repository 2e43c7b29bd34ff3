"""Task results of a model in a run directory: computed once for the same weights, tasks and harness."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from prefine.durable import replacing, write_json
from prefine.evaluate.samples import Models
from prefine.evaluate.tasks import harness
from prefine.evaluate.tasks.presets import benchmarks, files_digest
from prefine.models.load import model_digest
from prefine.progress import Progress
from prefine.recipe import Model, Tasks
from prefine.rundir import RunDir, StageDir, run_stage, stage_key

RESULTS = "results.json"
SAMPLES = "samples.jsonl"


def task_results(
    run: RunDir, models: Models, name: str, spec: Model, section: Tasks, manager: Any, progress: Progress
) -> dict[str, Any]:
    """The entry of each benchmark for one model; every question's outcome is in samples.jsonl beside them."""
    settings = {
        "model": model_digest(spec),
        "template": spec.chat_template or "" if section.apply_chat_template else "none",
        "benchmarks": [vars(b) for b in benchmarks(section.names, section.num_fewshot)],
        "limit": section.limit,
        "lm_eval": metadata.version("lm_eval"),
    }
    inputs = {"tasks": files_digest(section.include_path)} if section.include_path else {}
    folder = run.stage("evaluate", "tasks", stage_key("tasks", settings, inputs))

    def work(place: StageDir) -> tuple[None, dict[str, Any]]:
        progress.line(f"{name}: {', '.join(b.name for b in benchmarks(section.names))}")
        results, samples = harness.evaluate(models.get(spec), models.tokenizer(), section, manager)
        with replacing(place.path / SAMPLES) as tmp, tmp.open("w", encoding="utf-8") as file:
            for row in samples:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        write_json(place.path / RESULTS, results)
        return None, {"content": "tasks"}

    run_stage(folder, settings, inputs, work)
    return json.loads((folder.path / RESULTS).read_text())
