"""One model through lm-evaluation-harness: its Python interface, our model and tokenizer, no second load."""

from __future__ import annotations

import copy
import importlib.util
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefine.errors import PrefineError, missing_extra, nearest
from prefine.evaluate.tasks.presets import PRESETS, SUITES, Benchmark, benchmarks
from prefine.evaluate.tasks.results import entry
from prefine.recipe import Tasks

Samples = list[dict[str, Any]]
ASIDES = ("get_git_commit_hash", "add_env_info")
"""What the harness finds out about the machine for its own result files, which nothing here reads."""


def check(section: Tasks) -> Any:
    """The harness's index of tasks; refuses a missing extra and unknown names.

    The harness's own tasks are indexed only where a name is not among the local ones, since that takes a while.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise missing_extra("lm-eval", "eval")
    from lm_eval.tasks import TaskManager

    wanted = benchmarks(section.names, section.num_fewshot)
    try:
        if section.include_path is not None:
            local = TaskManager(include_path=section.include_path, include_defaults=False)
            if all(b.task in local.all_tasks for b in wanted):
                return local
        manager = TaskManager(include_path=section.include_path)
    except (OSError, ValueError, KeyError) as error:
        raise PrefineError(f"evaluate.tasks: the tasks in {section.include_path} cannot be read: {error}") from error
    for benchmark in wanted:
        if benchmark.task not in manager.all_tasks:
            hint = nearest(benchmark.name, [*PRESETS, *SUITES, *manager.all_tasks])
            close = hint if hint.startswith("; did you mean") else "; presets: " + ", ".join([*PRESETS, *SUITES])
            raise PrefineError(f"evaluate.tasks: there is no task '{benchmark.name}'{close}")
    return manager


def evaluate(model: Any, tokenizer: Any, section: Tasks, manager: Any) -> tuple[dict[str, Any], Samples]:
    """The results of all benchmarks by name, and what became of each question.

    Numbers are those that the harness's command line gives for the saved model with the same batch size.
    """
    from lm_eval.models import huggingface

    wrap: Any = huggingface.HFLM
    # It warns that settings for loading are ignored, which nobody gave.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # The harness sets a padding token where there is none.
    wrapped = wrap(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=section.batch_size)
    by_shots: dict[int | None, list[Benchmark]] = defaultdict(list)
    for benchmark in benchmarks(section.names, section.num_fewshot):
        by_shots[benchmark.shots].append(benchmark)
    found: dict[str, Any] = {}
    samples: Samples = []
    for shots, some in by_shots.items():
        results = _run(wrapped, [b.task for b in some], shots, section, manager)
        for benchmark in some:
            found[benchmark.name] = entry(benchmark, results)
        samples += list(_samples(results))
    order = [b.name for b in benchmarks(section.names)]
    return {name: found[name] for name in order}, samples


def _run(wrapped: Any, tasks: list[str], shots: int | None, section: Tasks, manager: Any) -> dict[str, Any]:
    from datasets.exceptions import DatasetsError
    from lm_eval import evaluator

    simple_evaluate: Any = evaluator.simple_evaluate
    try:
        with _without_asides(evaluator):
            results = simple_evaluate(
                model=wrapped,
                tasks=list(dict.fromkeys(tasks)),
                num_fewshot=shots,
                batch_size=section.batch_size,
                limit=section.limit,
                apply_chat_template=section.apply_chat_template,
                task_manager=manager,
                log_samples=True,
            )
    except (OSError, DatasetsError) as error:
        raise PrefineError(f"evaluate.tasks: the data of {', '.join(tasks)} could not be loaded: {error}") from error
    assert results is not None, "only other processes than the first get nothing"
    return dict(results)


@contextmanager
def _without_asides(evaluator: Any) -> Iterator[None]:
    """Within it the harness neither asks git, which complains outside of a repository, nor lists what is installed,
    which takes seconds."""
    kept = {name: getattr(evaluator, name) for name in ASIDES if hasattr(evaluator, name)}
    for name in kept:
        setattr(evaluator, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(evaluator, name, function)


def _samples(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Task, question, filter, the answer as it was read, the values of the metrics; log-probs for choices."""
    for task, rows in results["samples"].items():
        for row in rows:
            yield {
                "task": task,
                "doc_id": row["doc_id"],
                "filter": row["filter"],
                "target": _plain(row["target"]),
                "answer": _plain(row["filtered_resps"]),
                "values": {name: _plain(row[name]) for name in row["metrics"]},
            }


def _plain(value: Any) -> Any:
    """As JSON knows it."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
