"""The harness's nested results as one entry for each benchmark."""

from __future__ import annotations

import math
from typing import Any

from prefine.errors import PrefineError, nearest
from prefine.evaluate.tasks.presets import Benchmark

Z = 1.959963984540054
"""Standard errors to either side of a 95 % interval."""


def entry(benchmark: Benchmark, results: dict[str, Any]) -> dict[str, Any]:
    """`value` of the benchmark's metric with the harness's standard error `stderr` and the normal interval of both.

    `metrics` has all that the task reports, under the harness's names. Of a group `unweighted` is the plain mean over
    its tasks, which older leaderboards showed, where `value` weighs them by size.
    """
    task = benchmark.task
    found = {k: _number(v) for k, v in _reported(task, results).items()}
    metric = _metric(benchmark, found)
    name, _, how = metric.partition(",")
    value, stderr = found[metric], found.get(f"{name}_stderr,{how}")
    leaves = _leaves(task, results)
    known = value is not None and stderr is not None
    out = {
        "task": task,
        "shots": results["n-shot"].get(leaves[0]),
        "metric": metric,
        "value": value,
        "stderr": stderr,
        "low": value - Z * stderr if known else None,  # type: ignore[operator]
        "high": value + Z * stderr if known else None,  # type: ignore[operator]
        "n": sum(results["n-samples"][leaf]["effective"] for leaf in leaves),
        "version": results["versions"].get(task) or results["versions"].get(leaves[0]),
        "metrics": found,
    }
    if leaves != [task]:
        out["unweighted"] = _unweighted([results["results"][leaf] for leaf in leaves], metric)
    return out


def _reported(task: str, results: dict[str, Any]) -> dict[str, Any]:
    """What a task or group reports, without what is no metric."""
    found = {**results["results"].get(task, {}), **results.get("groups", {}).get(task, {})}
    return {k: v for k, v in found.items() if "," in k}


def _metric(benchmark: Benchmark, found: dict[str, Any]) -> str:
    if benchmark.metric is not None and benchmark.metric in found:
        return benchmark.metric
    known = [k for k in found if "_stderr," not in k]
    if benchmark.metric is not None or not known:
        wanted = benchmark.metric or "a metric"
        hint = nearest(wanted, known) if known else ", nor any other metric; a group needs an aggregate_metric_list"
        raise PrefineError(f"evaluate.tasks: the task '{benchmark.task}' does not report {wanted}{hint}")
    return known[0]


def _leaves(task: str, results: dict[str, Any]) -> list[str]:
    """The tasks of a group, those of groups in it included; a task itself."""
    below = results.get("group_subtasks", {}).get(task)
    return [leaf for one in below for leaf in _leaves(one, results)] if below else [task]


def _unweighted(rows: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The mean of the tasks' values; its standard error takes them as independent."""
    name, _, how = metric.partition(",")
    values = [float(row[metric]) for row in rows]
    errors = [_number(row.get(f"{name}_stderr,{how}")) for row in rows]
    known = [e for e in errors if e is not None]
    stderr = math.sqrt(math.fsum(e * e for e in known)) / len(rows) if len(known) == len(rows) else None
    return {"value": math.fsum(values) / len(values), "stderr": stderr, "tasks": len(rows)}


def _number(value: Any) -> float | None:
    """A number; None for what the harness writes where there is none, such as N/A."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
