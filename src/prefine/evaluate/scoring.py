"""Metrics of an evaluation: made before anything is drawn, asked when all responses are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prefine import registry
from prefine.errors import PrefineError
from prefine.evaluate.metrics.base import Metric, Rows
from prefine.progress import Progress
from prefine.recipe import Recipe
from prefine.schema import Candidate, Group, Score


def build(blocks: Sequence[dict[str, Any]], groups: Sequence[Group]) -> list[Metric]:
    """The metrics of a recipe, each with a name of its own and able to score at least some of the prompts."""
    made = [registry.metrics.build(block) for block in blocks]
    for block, metric in zip(blocks, made, strict=True):
        if not isinstance(metric, Metric):
            raise PrefineError(f"metric '{block['name']}' does not derive from prefine.evaluate.metrics.base.Metric")
        if sum(m.name == metric.name for m in made) > 1:
            raise PrefineError(f"two metrics give the score '{metric.name}'; set as_name on one of them")
        metric.check(groups)
    return made


def score(
    metrics: Sequence[Metric], candidates: Sequence[tuple[Group, Candidate]], recipe: Recipe, progress: Progress
) -> dict[str, Any]:
    """Give every candidate the scores of all metrics; equal responses to a prompt are scored once.

    Returns by metric what its numbers depend on, how many different responses have one, and how many have none, by
    reason.
    """
    asked = {(g.id, c.text): (g, c.text) for g, c in candidates}
    known: dict[tuple[str, str], list[Score]] = {key: [] for key in asked}
    facts: dict[str, Any] = {}
    for metric in metrics if asked else []:
        with progress.task(metric.name, total=len(asked), unit="responses") as step:
            try:
                metric.prepare(recipe)
                found = metric.scores(list(asked.values()), step)
                facts[metric.name] = {**metric.facts(), **_coverage(metric, found)}
            finally:
                metric.close()
        for scores, one in zip(known.values(), found, strict=True):
            scores.append(one)
    for group, candidate in candidates:
        candidate.scores = list(known[group.id, candidate.text])
    return facts


def _coverage(metric: Metric, scores: Sequence[Score]) -> dict[str, Any]:
    missing = Counter(s.status for s in scores if s.value is None)
    return {
        "higher_is_better": metric.higher_is_better,
        "scored": len(scores) - missing.total(),
        "missing": dict(sorted(missing.items())),
    }


def corpus_values(metrics: Sequence[Metric], rows: Rows) -> dict[str, Any]:
    """By metric the value of all responses together, for those that have one."""
    return {m.name: value for m in metrics if (value := m.corpus(rows)) is not None}


def corpus_differences(metrics: Sequence[Metric], ours: Rows, theirs: Rows) -> dict[str, Any]:
    """By metric the difference of two models' corpus values with its tests, for those that have them."""
    return {m.name: gap for m in metrics if (gap := m.corpus_difference(ours, theirs)) is not None}
