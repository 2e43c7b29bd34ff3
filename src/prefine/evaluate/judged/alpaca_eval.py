"""AlpacaEval run live: preference against a baseline, from the first token's probabilities where they are told."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

from prefine.engines.base import Reply, Sampling
from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.alpaca_eval import (
    DRAW,
    FIRST,
    SECOND,
    is_switched,
    preference_from_logprobs,
    unswitched,
)
from prefine.evaluate.benchmarks.results import Options
from prefine.evaluate.judged.asking import Answer
from prefine.evaluate.judged.base import AgainstBaseline, Answers, candidates
from prefine.evaluate.judged.questions import Question
from prefine.evaluate.judged.template import Template, load
from prefine.label.first_token import ALTERNATIVES, probabilities
from prefine.label.pairwise import order_facts, outcome
from prefine.label.verdicts import Unread
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import benchmarks
from prefine.schema import Comparison

_NAMED = re.compile(r"(?<![A-Za-z'])([mM])(?![A-Za-z'])")


@benchmarks.register("alpaca_eval")
class AlpacaEval(AgainstBaseline):
    """Win rate against a baseline's answers, plain and length-controlled, by a judge who names the better answer.

    Formula: the mean chance of our answer, P(its name) among the first token's two names, or the name that was said
    Paper: AlpacaEval 2, Dubois et al. 2024 (arXiv:2404.04475); our own question unless template names another
    Defaults: baseline: null takes the questions' file's own answers; orders: both means the mean of both (`coin`: the
    one that AlpacaEval's coin chooses); verdict: auto reads probabilities if the engine tells them, else the reply;
    responses are greedy; length control as by `prefine evaluate judgments`, with AlpacaEval's files in data
    Needs: questions; an engine, or a labeler as judge
    """

    kind = "alpaca_eval"

    def __init__(
        self,
        questions: str,
        engine: dict | None = None,
        judge: dict | None = None,
        baseline: str | None = None,
        template: str | None = None,
        orders: Literal["both", "coin"] = "both",
        verdict: Literal["auto", "first_token", "text"] = "auto",
        data: str | None = None,
        length_control_c: float | None = None,
        split: str | None = None,
        limit: int | None = None,
        max_new_tokens: int | None = None,
        judge_max_tokens: int = 64,
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
        self.against, self.template, self.orders, self.verdict = baseline, template, orders, verdict
        self.data, self.c, self.resamples, self.seed = data, length_control_c, resamples, seed

    def load(self) -> None:
        """Also the template."""
        super().load()
        self.form = load(self.template, "alpaca_eval.txt", ("question", "a", "b"))

    def templates(self) -> list[Template]:
        return [self.form]

    def open(self, recipe: Recipe) -> dict[str, Any]:
        """Also decide how verdicts are read."""
        facts = super().open(recipe)
        if self.engine is None:
            return facts
        if self.verdict == "first_token" and not self.engine.first_token:
            raise PrefineError(
                f"{self.name}: the engine '{self.engine.block['name']}' does not tell the first token's probabilities; "
                "set verdict: text"
            )
        self.by_probability = self.verdict != "text" and self.engine.first_token
        if self.by_probability:
            self.engine.sampling = Sampling(max_tokens=1, top_logprobs=ALTERNATIVES, seed=self.seed)
            self.engine.max_reasks = 0
        facts["sampling"] |= {"max_tokens": self.engine.sampling.max_tokens}
        return facts | {"verdict": "first_token" if self.by_probability else "text", "orders": self.orders}

    def verdicts(self, ours: Answers, baseline: Answers | None, step: Step) -> list[dict[str, Any]]:
        assert baseline is not None
        both = [q for q in self.questions if q.id in ours.texts and q.id in baseline.texts]
        pairs = {q.id: (baseline.texts[q.id][0], ours.texts[q.id][0]) for q in both}
        asked = [q for q in both if pairs[q.id][0] != pairs[q.id][1]]
        step(len(self.questions) - len(asked))
        self.comparisons: list[Comparison] = []
        found = (
            self._by_engine(asked, pairs, step) if self.engine else self._by_labeler(asked, pairs, ours, baseline, step)
        )
        rows = []
        for q in self.questions:
            base, own = pairs.get(q.id, ("", ""))
            preference, status = (None, "no_response") if q.id not in pairs else found.get(q.id, (DRAW, "equal"))
            rows.append(
                {
                    "index": q.place,
                    "dataset": q.category,
                    "instruction": q.turns[0],
                    "output_1": base,
                    "output_2": own,
                    "generator_1": baseline.name,
                    "generator_2": ours.name,
                    "annotator": self.judge,
                    "preference": preference,
                    "status": status,
                }
            )
        return rows

    def _by_engine(
        self, asked: list[Question], pairs: dict[str, tuple[str, str]], step: Step
    ) -> dict[str, tuple[float | None, str]]:
        """The preference of each question; with both orders their mean, and none where one is missing."""
        assert self.engine is not None
        places = [
            (q, switched)
            for q in asked
            for switched in ((False, True) if self.orders == "both" else (is_switched(q.turns[0]),))
        ]
        questions = []
        for q, switched in places:
            a, b = pairs[q.id][::-1] if switched else pairs[q.id]
            questions.append(self.form.filled({"question": q.turns[0], "a": a, "b": b}))
        share = len(asked) / max(1, len(questions))
        answers = self.engine.ask(questions, self._read, lambda n=1, note=None: step(n * share, note=note))
        shown: dict[str, list[tuple[bool, Answer[float]]]] = {}
        for (q, switched), answer in zip(places, answers, strict=True):
            shown.setdefault(q.id, []).append((switched, answer))
        return {i: self._combined(i, found) for i, found in shown.items()}

    def _combined(self, question: str, found: list[tuple[bool, Answer[float]]]) -> tuple[float | None, str]:
        values = [None if a.value is None else unswitched(a.value, s) for s, a in found]
        known = [v for v in values if v is not None]
        # The chance of the baseline, `a`: where it was shown first, and where second.
        orders = {switched: None if v is None else 2 - v for (switched, _), v in zip(found, values, strict=True)}
        result = "invalid" if len(known) < len(found) else outcome([2 - v for v in known], "soft")
        self.comparisons.append(
            Comparison("baseline", question, result, "", None, [orders.get(False), orders.get(True)])
        )
        if len(known) < len(found):
            return None, next(a.status for _, a in found if a.value is None)
        return math.fsum(known) / len(known), "ok"

    def _read(self, reply: Reply) -> float:
        """The preference as it was shown: 1 for the first answer, 2 for the second."""
        if self.by_probability:
            first, second = probabilities(reply.first_token, (FIRST, SECOND))
            logs = {name: math.log(p) for name, p in ((FIRST, first), (SECOND, second)) if p > 0}
            found = preference_from_logprobs(logs)
            if found is None:
                raise Unread("neither_named")
            return found
        said = {m for m in _NAMED.findall(reply.text)}
        if len(said) != 1 or reply.finish_reason == "length":
            raise Unread("parse_error")
        return 1.0 if said == {FIRST} else 2.0

    def _by_labeler(
        self, asked: list[Question], pairs: dict[str, tuple[str, str]], ours: Answers, baseline: Answers, step: Step
    ) -> dict[str, tuple[float | None, str]]:
        assert self.labeler is not None
        groups = [q.group([]) for q in asked]
        for q, group in zip(asked, groups, strict=True):
            group.candidates = candidates(group.id, pairs[q.id], (baseline.name, ours.name))
        found = self.labeler.pairs(groups, lambda n=1, note=None: step(n / 2, note=note))
        return {q.id: (None if j.p is None else 1 + j.p, j.status) for q, j in zip(asked, found, strict=True)}

    def options(self, ours: Answers, baseline: Answers | None, place: Path) -> Options:
        data = Path(self.data) if self.data else None
        return Options(c=self.c, data=data, resamples=self.resamples, seed=self.seed)

    def facts(self) -> dict[str, Any]:
        """How the order mattered: the first answer's wins, and the share of pairs whose two orders name two winners."""
        return {"orders": order_facts(self.comparisons)} if self.engine is not None else {}
