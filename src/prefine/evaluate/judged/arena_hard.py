"""Arena-Hard run live: two games a prompt against a baseline, five labels, Bradley-Terry scores with style control."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

from prefine.engines.base import Reply, Sampling
from prefine.errors import missing_extra
from prefine.evaluate.benchmarks.arena_hard import LABELS, Version, parse_verdict
from prefine.evaluate.benchmarks.results import Options
from prefine.evaluate.benchmarks.style_metadata import markdown_counts
from prefine.evaluate.judged.asking import Judged
from prefine.evaluate.judged.base import AgainstBaseline, Answers, candidates, write_rows
from prefine.evaluate.judged.questions import Question
from prefine.evaluate.judged.template import Template, load
from prefine.label.verdicts import Unread
from prefine.progress import Step
from prefine.registry import benchmarks
from prefine.schema import Message

CREATIVE = "creative_writing"
GO_ON = "Go on, and end with one of the five labels."
LABEL = {1.0: "A>B", 0.5: "A=B", 0.0: "B>A"}
"""Of a labeler's verdict for the response shown first."""


@benchmarks.register("arena_hard")
class ArenaHard(AgainstBaseline):
    """Score against a baseline on hard prompts: two games a prompt, five labels, in percent, with style control.

    Formula: votes of both games (>> three, > one, = half) as a Bradley-Terry score with the baseline at 50
    Paper: Arena-Hard-Auto, Li et al. 2024 (arXiv:2406.11939); our own question unless template names another
    Defaults: version: v2.0 takes the last label and drops a prompt where a game has none, v0.1 drops the game;
    max_reasks: 2 asks again for what cannot be read (0 is the tool's rule); creative_template: for the category
    creative_writing; style_control: scores that also fit tokens, headers, lists and bold spans, tokens by the start
    model's tokenizer; responses are greedy
    Needs: questions; an engine, or a labeler as judge; style control of v0.1 the extra `eval`
    """

    kind = "arena_hard"

    def __init__(
        self,
        questions: str,
        engine: dict | None = None,
        judge: dict | None = None,
        baseline: str | None = None,
        version: Literal["v0.1", "v2.0"] = "v2.0",
        template: str | None = None,
        creative_template: str | None = None,
        style_control: bool = True,
        split: str | None = None,
        limit: int | None = None,
        max_new_tokens: int | None = None,
        judge_max_tokens: int = 4096,
        judge_name: str | None = None,
        max_reasks: int = 2,
        resamples: int | None = None,
        seed: int = 0,
        as_name: str | None = None,
    ) -> None:
        sampling = Sampling(max_tokens=judge_max_tokens, seed=seed)
        super().__init__(
            questions, engine, judge, split, limit, max_new_tokens, judge_name, as_name, sampling, max_reasks
        )
        self.against, self.style, self.resamples, self.seed = baseline, style_control, resamples, seed
        self.version: Version = version
        self.template, self.creative_template = template, creative_template

    def load(self) -> None:
        """Also the templates."""
        super().load()
        slots = ("question", "a", "b")
        official = {"question_1": "question", "answer_1": "a", "answer_2": "b"}
        self.form = load(self.template, "arena_hard.txt", slots, official)
        creative = self.creative_template or self.template
        self.creative = load(creative, "arena_hard_creative.txt", slots, official)
        if self.style and self.version == "v0.1" and importlib.util.find_spec("sklearn") is None:
            raise missing_extra("scikit-learn", "eval")

    def templates(self) -> list[Template]:
        return [self.form, self.creative]

    def verdicts(self, ours: Answers, baseline: Answers | None, step: Step) -> list[dict[str, Any]]:
        assert baseline is not None
        both = [q for q in self.questions if q.id in ours.texts and q.id in baseline.texts]
        pairs = {q.id: (baseline.texts[q.id][0], ours.texts[q.id][0]) for q in both}
        asked = [q for q in both if pairs[q.id][0] != pairs[q.id][1]]
        step(len(self.questions) - len(asked))
        if self.engine is not None:
            games = self._by_engine(asked, pairs, step)
        else:
            games = self._by_labeler(asked, pairs, ours, baseline, step)
        equal = [{"score": "A=B", "status": "equal"}] * 2
        lost = [{"score": None, "status": "no_response"}] * 2
        key = "uid" if self.version == "v2.0" else "question_id"
        return [
            {
                key: q.id,
                "category": q.category or "hard_prompt",
                "model": ours.name,
                "judge": self.judge,
                "baseline": baseline.name,
                "games": games.get(q.id, equal) if q.id in pairs else lost,
            }
            for q in self.questions
        ]

    def _by_engine(
        self, asked: list[Question], pairs: dict[str, tuple[str, str]], step: Step
    ) -> dict[str, list[dict[str, Any]]]:
        """Both games of each question: in the second ours is A."""
        assert self.engine is not None
        questions = []
        for q in asked:
            form = self.creative if q.category == CREATIVE else self.form
            for a, b in (pairs[q.id], pairs[q.id][::-1]):
                questions.append(form.filled({"question": q.turns[0], "a": a, "b": b}))
        go_on = self._go_on if self.version == "v0.1" else None
        found = self.engine.ask(questions, self._read, lambda n=1, note=None: step(n / 2, note=note), go_on)
        games = [{"score": a.value, "status": a.status, "judgment": a.text} for a in found]
        return {q.id: games[2 * i : 2 * i + 2] for i, q in enumerate(asked)}

    def _go_on(self, reply: Reply) -> tuple[Message, ...]:
        return {"role": "assistant", "content": reply.text}, {"role": "user", "content": GO_ON}

    def _read(self, reply: Reply) -> str:
        label, unfinished = parse_verdict(reply.text, self.version)
        if label in LABELS[self.version]:
            return str(label)
        raise Unread("unfinished" if unfinished else "parse_error")

    def _by_labeler(
        self, asked: list[Question], pairs: dict[str, tuple[str, str]], ours: Answers, baseline: Answers, step: Step
    ) -> dict[str, list[dict[str, Any]]]:
        assert self.labeler is not None
        groups = [q.group([]) for q in asked]
        for q, group in zip(asked, groups, strict=True):
            group.candidates = candidates(group.id, pairs[q.id], (baseline.name, ours.name))
        found = self.labeler.pairs(groups, lambda n=1, note=None: step(n / 2, note=note))
        return {q.id: [_game(j, 0), _game(j, 1)] for q, j in zip(asked, found, strict=True)}

    def options(self, ours: Answers, baseline: Answers | None, place: Path) -> Options:
        """Write both models' style beside the judgments, where style is controlled."""
        assert baseline is not None
        if not self.style:
            return Options(baseline=baseline.name, resamples=self.resamples, seed=self.seed)
        key = "uid" if self.version == "v2.0" else "question_id"
        rows = [
            {key: i, "model": a.name, "metadata": {"token_len": ours.count(t[0]), **markdown_counts(t[0])}}
            for a in (ours, baseline)
            for i, t in a.texts.items()
        ]
        file = place / "style" / "answers.jsonl"
        write_rows(file, rows)
        return Options(baseline=baseline.name, answers=file, resamples=self.resamples, seed=self.seed)


def _game(judged: Judged, number: int) -> dict[str, Any]:
    """A labeler's verdict as a game's label; the chance is ours, who is B in game 0 and A in game 1."""
    chance = judged.orders[number]
    chance = judged.p if chance is None else chance
    if chance is None:
        return {"score": None, "status": judged.status}
    won = 0.5 if abs(chance - 0.5) < 1e-9 else float(chance > 0.5)
    return {"score": LABEL[won if number else 1 - won], "status": "ok"}
