"""What the evaluate stage asks of a judged benchmark."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefine.durable import replacing
from prefine.engines.base import Sampling
from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.judgments import score
from prefine.evaluate.benchmarks.results import Options
from prefine.evaluate.judged.asking import EngineJudge, LabelerJudge
from prefine.evaluate.judged.questions import Question, read_answers, read_questions
from prefine.evaluate.judged.template import Template
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Candidate, make_candidate

START = "start"
"""The baseline that is the model which training started from."""


@dataclass
class Answers:
    """A model's answers by question's id, turn by turn; a question that it could not answer is absent.

    `cut` are the ids of answers that reached the token limit. `count` counts the tokens of a text.
    """

    name: str
    texts: dict[str, list[str]]
    cut: set[str] = field(default_factory=set)
    count: Callable[[str], int] = len


class Benchmark:
    """Questions, a judge and a rule for scores. `name` is what its results stand under.

    A subclass's constructor takes settings and does no work; `load` reads files, `open` connects to the judge.
    """

    turns: ClassVar[int] = 1
    """How many turns of a question are asked, at most."""
    kind: ClassVar[str]
    """Whose rules score the judgments, as `prefine evaluate judgments --benchmark` calls them."""

    def __init__(
        self,
        questions: str,
        engine: dict | None,
        judge: dict | None,
        split: str | None,
        limit: int | None,
        max_new_tokens: int | None,
        judge_name: str | None,
        as_name: str | None,
        sampling: Sampling,
        max_reasks: int,
    ) -> None:
        if (engine is None) == (judge is None):
            raise ValueError("give either engine, a model to ask with the benchmark's question, or judge, a labeler")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit}")
        if max_new_tokens is not None and max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {max_new_tokens}")
        self.path, self.split, self.limit = questions, split, limit
        self.max_new_tokens, self.judge_name, self.name = max_new_tokens, judge_name, as_name or self.kind
        self.engine = EngineJudge(engine, sampling, max_reasks) if engine is not None else None
        self.labeler = LabelerJudge(judge) if judge is not None else None
        self.questions: list[Question] = []

    @property
    def baseline(self) -> str | None:
        """The file with the answers to compare with, the folder of a model that answers, `start`, or None where nothing
        is compared."""
        return None

    def load(self) -> None:
        """Read the questions, the baseline's answers and the templates, before anything is drawn."""
        self.questions = read_questions(self.path, self.split, self.limit)

    def templates(self) -> list[Template]:
        """The texts that the judge is asked with."""
        raise TypeError(f"{type(self).__name__} has no method templates()")

    def temperature(self, question: Question) -> float:
        """At which the question is answered."""
        return 0.0

    def open(self, recipe: Recipe) -> dict[str, Any]:
        """Connect to the judge; the facts that every number of this benchmark depends on."""
        if self.engine is not None:
            return self.engine.open(recipe, self.kind, self.templates(), self.judge_name)
        assert self.labeler is not None
        return self.labeler.open(recipe, self.judge_name)

    @property
    def judge(self) -> str:
        """The name of the judge, with the version of its prompts."""
        found = self.engine or self.labeler
        assert found is not None
        return found.name

    def verdicts(self, ours: Answers, baseline: Answers | None, step: Step) -> list[dict[str, Any]]:
        """One row a judgment, as the benchmark's own tool stores them. `step` counts answers."""
        raise TypeError(f"{type(self).__name__} has no method verdicts(ours, baseline, step)")

    def options(self, ours: Answers, baseline: Answers | None, place: Path) -> Options:
        """How the rows are scored; files that scoring needs are written to `place`."""
        return Options()

    def facts(self) -> dict[str, Any]:
        """What else is to be told of the verdicts; called after `verdicts`."""
        return {}

    def result(self, ours: Answers, baseline: Answers | None, place: Path, step: Step) -> dict[str, Any]:
        """Judge, keep the judgments in `place`, and score them: the model's line with notes and facts."""
        rows = self.verdicts(ours, baseline, step)
        file = place / f"{self.kind}.jsonl"
        write_rows(file, rows)
        scored = score(file, self.kind, self.options(ours, baseline, place))
        lines = [m for m in scored.models if m["model"] == ours.name]
        head = lines[0] if len(lines) == 1 else {"model": ours.name, "by_category": lines}
        asked = (self.engine or self.labeler).facts()  # type: ignore[union-attr]
        told = {
            "without_verdict": _without_verdict(rows),
            "notes": scored.notes,
            "asked": asked,
            "file": f"{place.parent.name}/{place.name}/{file.name}",
        }
        return {**head, **scored.facts, **self.facts(), "cut_answers": len(ours.cut), **told}

    def close(self) -> None:
        """Let go of the judge."""
        for judge in (self.engine, self.labeler):
            if judge is not None:
                judge.close()


class AgainstBaseline(Benchmark):
    """A benchmark that compares with a baseline's answers."""

    against: str | None

    @property
    def baseline(self) -> str | None:
        """A file, a model's folder, `start`, or None where the questions' file has the answers."""
        return self.against

    def load(self) -> None:
        """Also the baseline's answers: those of its file, or those beside the questions."""
        super().load()
        self.stored: tuple[dict[str, list[str]], str] | None = None
        if self.against is not None and self.against != START and not is_model(self.against):
            self.stored = read_answers(self.against, self.questions)
        elif self.against is None:
            lost = next((q for q in self.questions if q.output is None), None)
            if lost is not None:
                raise PrefineError(
                    f"{self.path}: question '{lost.id}' has no answer of a baseline ('output'); name a file of answers "
                    f"in baseline, a model's folder, or '{START}' for the model that training started from"
                )
            writer = next((q.writer for q in self.questions if q.writer), "baseline")
            self.stored = {q.id: [q.output or ""] for q in self.questions}, writer


def is_model(path: str) -> bool:
    """Whether this is the folder of a model or an adapter, such as a run's `train/NAME-KEY/model`."""
    return any((Path(path) / name).is_file() for name in ("config.json", "adapter_config.json"))


def _without_verdict(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many verdicts are missing, by reason."""
    verdicts = [v for row in rows for v in row.get("games", [row])]
    return dict(sorted(Counter(v["status"] for v in verdicts if v["status"] not in ("ok", "equal")).items()))


def candidates(group: str, texts: Sequence[str], names: Sequence[str]) -> list[Candidate]:
    """Responses for a labeler, told apart by whose they are."""
    return [
        make_candidate(group, t, {"model": n}, f"{n}/{i}") for i, (t, n) in enumerate(zip(texts, names, strict=True))
    ]


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """JSON lines, written whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as tmp:
        tmp.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
