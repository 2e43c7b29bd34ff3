"""MT-Bench run live: two turns, each graded from 1 to 10, with right answers where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefine.engines.base import Reply, Sampling
from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.mt_bench import FAILURE, HIGHEST, LOWEST, REFERENCE_GUIDED, category_of, parse_rating
from prefine.evaluate.benchmarks.results import Options
from prefine.evaluate.judged.asking import Answer
from prefine.evaluate.judged.base import Answers, Benchmark, candidates, write_rows
from prefine.evaluate.judged.questions import Question, read_answers
from prefine.evaluate.judged.template import Template, fastchat, load, made, named
from prefine.label.verdicts import Unread
from prefine.progress import Step
from prefine.registry import benchmarks
from prefine.schema import Message

TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""Of the answers, by category; 0 for all others."""
OFFICIAL = {
    (1, False): "single-v1",
    (1, True): "single-math-v1",
    (2, False): "single-v1-multi-turn",
    (2, True): "single-math-v1-multi-turn",
}
"""By turn, and whether right answers are shown: what FastChat calls the question."""
OURS = {key: f"mt_bench_turn_{key[0]}{'_reference' if key[1] else ''}.txt" for key in OFFICIAL}
SLOTS = {
    (1, False): ("question", "answer"),
    (1, True): ("question", "answer", "ref_answer_1"),
    (2, False): ("question_1", "answer_1", "question_2", "answer_2"),
    (2, True): ("question_1", "answer_1", "question_2", "answer_2", "ref_answer_1", "ref_answer_2"),
}

Place = tuple[Question, int]
"""A question and a turn of it, from 1."""


@benchmarks.register("mt_bench")
class MTBench(Benchmark):
    """Mean grade from 1 to 10 over both turns of questions in eight categories.

    Formula: the mean of all grades, by turn and by category; the second turn follows the model's own first answer
    Paper: MT-Bench, Zheng et al. 2023 (arXiv:2306.05685); our own questions to the judge unless templates names others
    Defaults: answers at the benchmark's temperatures (writing, roleplay .7; stem, humanities .1; else 0), or at
    temperature; math, reasoning and coding are graded beside right answers, from references or the questions' file;
    templates: FastChat's judge_prompts.jsonl; max_reasks: 2 asks again for what cannot be read (0 is the tool's rule)
    Needs: questions; an engine, or a labeler that gives 1 to 10 as judge
    """

    kind, turns = "mt_bench", 2

    def __init__(
        self,
        questions: str,
        engine: dict | None = None,
        judge: dict | None = None,
        references: str | None = None,
        templates: str | None = None,
        temperature: float | None = None,
        split: str | None = None,
        limit: int | None = None,
        max_new_tokens: int | None = None,
        judge_max_tokens: int = 2048,
        judge_name: str | None = None,
        max_reasks: int = 2,
        seed: int = 0,
        as_name: str | None = None,
    ) -> None:
        sampling = Sampling(max_tokens=judge_max_tokens, seed=seed)
        super().__init__(
            questions, engine, judge, split, limit, max_new_tokens, judge_name, as_name, sampling, max_reasks
        )
        if temperature is not None and temperature < 0:
            raise ValueError(f"temperature must be 0 or more, not {temperature}")
        self.fixed, self.templates_path, self.references_path, self.seed = temperature, templates, references, seed

    def load(self) -> None:
        """Also right answers and templates; the category of an official question follows from its number."""
        super().load()
        self.references = {q.id: q.references for q in self.questions if q.references}
        if self.references_path is not None:
            guided = [q for q in self.questions if self._category(q) in REFERENCE_GUIDED]
            self.references |= read_answers(self.references_path, guided)[0]
        if self.templates_path is None:
            self.forms = {key: load(None, OURS[key], SLOTS[key]) for key in OFFICIAL}
            return
        found = fastchat(self.templates_path)
        self.forms = {}
        for key, name in OFFICIAL.items():
            system, user = named(found, name, self.templates_path)
            self.forms[key] = made(system, user, f"{self.templates_path}: {name}", SLOTS[key], None)

    def templates(self) -> list[Template]:
        return list(self.forms.values())

    def _category(self, question: Question) -> str:
        return question.category or category_of(question.id, {}) or "none"

    def temperature(self, question: Question) -> float:
        return TEMPERATURES.get(self._category(question), 0.0) if self.fixed is None else self.fixed

    def _guided(self, question: Question, turn: int) -> bool:
        """Whether right answers are shown: in their categories, where they are known up to this turn."""
        known = len(self.references.get(question.id, ())) >= turn
        return self._category(question) in REFERENCE_GUIDED and known

    def verdicts(self, ours: Answers, baseline: Answers | None, step: Step) -> list[dict[str, Any]]:
        places = [(q, turn) for q in self.questions for turn in range(1, min(len(q.turns), self.turns) + 1)]
        asked = [(q, turn) for q, turn in places if len(ours.texts.get(q.id, ())) >= turn]
        step(len(places) - len(asked))
        found = self._by_engine(asked, ours, step) if self.engine is not None else self._by_labeler(asked, ours, step)
        answers = {(q.id, turn): a for (q, turn), a in zip(asked, found, strict=True)}
        self.unguided = sum(self._category(q) in REFERENCE_GUIDED and not self._guided(q, t) for q, t in places)
        rows = []
        for q, turn in places:
            answer = answers.get((q.id, turn), Answer(None, "no_response"))
            template = (OFFICIAL if self.templates_path else OURS)[turn, self._guided(q, turn)].removesuffix(".txt")
            rows.append(
                {
                    "question_id": q.id,
                    "model": ours.name,
                    "turn": turn,
                    "judge": [self.judge, template if self.engine is not None else ""],
                    "score": FAILURE if answer.value is None else answer.value,
                    "status": answer.status,
                    "judgment": answer.text,
                }
            )
        return rows

    def _by_engine(self, asked: list[Place], ours: Answers, step: Step) -> list[Answer[float]]:
        assert self.engine is not None
        return self.engine.ask([self._messages(q, turn, ours.texts[q.id]) for q, turn in asked], _read, step)

    def _messages(self, q: Question, turn: int, answers: list[str]) -> tuple[Message, ...]:
        texts = {"question": q.turns[0], "answer": answers[0]}
        for i in range(turn):
            texts |= {f"question_{i + 1}": q.turns[i], f"answer_{i + 1}": answers[i]}
        texts |= {f"ref_answer_{i}": text for i, text in enumerate(self.references.get(q.id, ()), 1)}
        return self.forms[turn, self._guided(q, turn)].filled(texts)

    def _by_labeler(self, asked: list[Place], ours: Answers, step: Step) -> list[Answer[float]]:
        assert self.labeler is not None
        groups = []
        for q, turn in asked:
            group = q.group(ours.texts[q.id][: turn - 1])
            group.candidates = candidates(group.id, [ours.texts[q.id][turn - 1]], [ours.name])
            groups.append(group)
        found = self.labeler.scores(groups, step)
        wrong = next((a.value for a in found if a.value is not None and not LOWEST <= a.value <= HIGHEST), None)
        if wrong is not None:
            raise PrefineError(f"{self.name}: the labeler gave {wrong:g}; grades are from {LOWEST} to {HIGHEST}")
        return found

    def options(self, ours: Answers, baseline: Answers | None, place: Path) -> Options:
        """Write the categories beside the judgments."""
        file = place / "categories" / "questions.jsonl"
        write_rows(file, [{"question_id": q.id, "category": self._category(q)} for q in self.questions])
        return Options(questions=file, seed=self.seed)

    def facts(self) -> dict[str, Any]:
        """How many answers that belong beside a right answer were graded without one."""
        return {"graded_without_reference": self.unguided}


def _read(reply: Reply) -> float:
    rating = parse_rating(reply.text)
    if not LOWEST <= rating <= HIGHEST:
        raise Unread("parse_error")
    return rating
