"""Judged benchmarks of an evaluation: every model answers, and the judge's verdicts on its answers are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefine import registry
from prefine.errors import PrefineError
from prefine.evaluate.judged.base import START, AgainstBaseline, Answers, Benchmark
from prefine.evaluate.judged.questions import Question
from prefine.evaluate.samples import Sampling, unused_name
from prefine.models.held import release
from prefine.progress import Progress
from prefine.recipe import Model, Recipe
from prefine.schema import Group

FOLDER = "judgments"


def build(blocks: Sequence[dict[str, Any]]) -> list[Benchmark]:
    """The benchmarks of a recipe with their files read, each under a name of its own."""
    made: list[Benchmark] = []
    for block in blocks:
        benchmark = registry.benchmarks.build(block)
        if not isinstance(benchmark, Benchmark):
            raise PrefineError(f"'{block['name']}' does not derive from prefine.evaluate.judged.base.Benchmark")
        if any(b.name == benchmark.name for b in made):
            raise PrefineError(f"two benchmarks are called '{benchmark.name}'; set as_name on one of them")
        benchmark.load()
        made.append(benchmark)
    return made


def benchmark_results(
    benchmarks: Sequence[Benchmark],
    models: Mapping[str, tuple[str, Model]],
    start: Model,
    sampling: Sampling,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """By benchmark its judge, and the scores of each model by role; the judgments are in `folder`/judgments.

    models: by role (`model`, `start`, or another run's name) the model's name and where it is. The start does not meet
    itself where it is the baseline.
    """
    out: dict[str, Any] = {}
    for benchmark in benchmarks:
        drawing = replace(sampling, max_new_tokens=benchmark.max_new_tokens or sampling.max_new_tokens)
        wanted = {r: m for r, m in models.items() if not (r == START and benchmark.baseline == START)}
        answers = {role: _answers(benchmark, name, spec, drawing) for role, (name, spec) in wanted.items()}
        baseline = _baseline(benchmark, start, drawing, {a.name for a in answers.values()})
        release()
        try:
            judge = benchmark.open(recipe)
            found: dict[str, Any] = {}
            for role, ours in answers.items():
                place = folder / FOLDER / benchmark.name / role.replace("/", "_")
                with progress.task(f"{benchmark.name}, {ours.name}", total=_total(benchmark), unit="answers") as step:
                    found[role] = benchmark.result(ours, baseline, place, step)
        finally:
            benchmark.close()
            release()
        facts = {"questions": len(benchmark.questions), "baseline": baseline.name if baseline else None, "judge": judge}
        out[benchmark.name] = {"kind": benchmark.kind, **facts, "models": found}
    return out


def _total(benchmark: Benchmark) -> int:
    return sum(min(len(q.turns), benchmark.turns) for q in benchmark.questions)


def _counter(sampling: Sampling) -> Callable[[str], int]:
    """Counts the tokens of a text as the start model's tokenizer does."""
    return lambda text: len(sampling.models.tokenizer()(text, add_special_tokens=False)["input_ids"])


def _baseline(benchmark: Benchmark, start: Model, sampling: Sampling, taken: set[str]) -> Answers | None:
    if not isinstance(benchmark, AgainstBaseline):
        return None
    if benchmark.against == START:
        return _answers(benchmark, START, start, sampling)
    if benchmark.stored is None:
        # Loaded and prompted as the start is.
        other = start.model_copy(update={"path": benchmark.against, "revision": None})
        return _answers(benchmark, unused_name(str(benchmark.against), taken), other, sampling)
    texts, writer = benchmark.stored
    # Scores tell the models apart by their names.
    name = f"{writer} (baseline)" if writer in taken else writer or "baseline"
    return Answers(name.replace("/", "_"), texts, count=_counter(sampling))


def _answers(benchmark: Benchmark, name: str, spec: Model, sampling: Sampling) -> Answers:
    """A model's answers to all turns that the benchmark asks, each turn after the model's own answers before."""
    out = Answers(name.replace("/", "_"), {}, count=_counter(sampling))
    for turn in range(benchmark.turns):
        asked = [q for q in benchmark.questions if len(q.turns) > turn and len(out.texts.get(q.id, ())) == turn]
        for temperature in sorted({benchmark.temperature(q) for q in asked}):
            part = [q for q in asked if benchmark.temperature(q) == temperature]
            _draw(part, out, name, spec, sampling, temperature)
    return out


def _draw(
    part: Sequence[Question], out: Answers, name: str, spec: Model, sampling: Sampling, temperature: float
) -> None:
    groups: dict[str, Group] = {q.id: q.group(out.texts.get(q.id, [])) for q in part}
    # Two questions may be one prompt; it is answered once.
    unique = {g.id: g for g in groups.values()}
    drawn = sampling.answers(name, spec, list(unique.values()), 1, temperature)
    for question in part:
        for candidate in drawn.responses[groups[question.id].id][:1]:
            out.texts.setdefault(question.id, []).append(candidate.text)
            if candidate.finish_reason == "length":
                out.cut.add(question.id)
