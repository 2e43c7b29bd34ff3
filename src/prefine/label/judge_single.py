"""A judge who grades each response by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from prefine.engines.base import Reply, Sampling
from prefine.label.asking import Asker, Found, Question, scaled
from prefine.label.base import Labels
from prefine.label.first_token import ALTERNATIVES, expected
from prefine.label.judging import Judging
from prefine.label.pairwise import unique_texts
from prefine.label.templates import conversation, load_form
from prefine.label.verdicts import read, score
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Group, Score


@labelers.register("judge_single")
class JudgeSingle(Judging):
    """Points from 1 to 10 that a model gives to each response, after it has given its reasons.

    Formula: the points, their mean over judge_samples; with mode: expected, sum v p(v) / sum p(v) over the digits v
    Paper: Zheng et al. 2023 (arXiv:2306.05685), single-answer grading; G-Eval, Liu et al. 2023 (arXiv:2303.16634)
    Defaults: mode: text reads points after reasons, `expected` reads the first token's probabilities; points: null is
    10, with expected 5; reference: the field of task_meta with a right answer, for prompts that have one; template: a
    file with {prompt} and {answer}; what cannot be read is asked for again max_reasks times, then it is no score
    Needs: an engine, for expected one that tells the first token's probabilities
    """

    def __init__(
        self,
        engine: dict,
        mode: Literal["text", "expected"] = "text",
        points: int | None = None,
        judge_samples: int = 1,
        **judging: Any,
    ) -> None:
        super().__init__(engine, judge_samples=judge_samples, **judging)
        if judge_samples > 1 and mode == "expected":
            raise ValueError("judge_samples: mode 'expected' reads probabilities, which need one call")
        if points is not None and points < 2:
            raise ValueError(f"points must be 2 or more, not {points}")
        if points is not None and points > 9 and mode == "expected":
            raise ValueError(f"points: mode 'expected' reads one digit, so there are at most 9, not {points}")
        self.text, self.points = mode == "text", points or (10 if mode == "text" else 5)
        if self.text:
            sampling = Sampling(self.temperature, max_tokens=self.max_new_tokens, seed=self.seed)
        else:
            sampling = Sampling(max_tokens=1, top_logprobs=ALTERNATIVES, seed=self.seed)
        self.asker = Asker(engine, sampling, self.max_reasks if self.text else 0)
        self.wanted = score(1, self.points)

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        default = "judge_single.txt" if self.text else "judge_digit.txt"
        self.form = load_form(self.template, default, ("prompt", "answer"), ("reference", "low", "high"))
        return {**self.asker.open(recipe, "judge_single", self.form.text), "points": [1, self.points]}

    def calls(self, groups: Iterable[Group]) -> int:
        return self.samples * sum(len(unique_texts(g)) for g in groups)

    def label(self, groups: list[Group], step: Step) -> list[Labels]:
        texts = [unique_texts(group) for group in groups]
        questions = [
            q for group, unique in zip(groups, texts, strict=True) for t in unique for q in self._ask(group, t)
        ]
        responses = sum(len(g.candidates) for g in groups)
        counted = scaled(step, responses, len(questions)) if questions else None
        if counted is None:
            step(responses)
        found = iter(self.asker.ask(questions, self._read, counted))
        out = []
        for group, unique in zip(groups, texts, strict=True):
            scores = {text: [next(found) for _ in range(self.samples)] for text in unique}
            out.append(Labels([self._scores(scores.get(c.text)) for c in group.candidates]))
        return out

    def _ask(self, group: Group, text: str) -> list[Question]:
        """As many questions as there are samples."""
        texts = {
            "prompt": conversation(group.messages),
            "reference": group.task_meta.get(self.reference or "") or None,
            "answer": text,
        }
        asked = self.form.filled(texts, {"low": "1", "high": str(self.points)})
        sampled = self.text and self.temperature > 0
        return [Question(asked, f"{group.id[:16]}:{k}" if sampled else "") for k in range(self.samples)]

    def _read(self, question: Question, reply: Reply) -> tuple[float, Any]:
        """The points and the reasons, or the expected points and the probability of giving points at all."""
        if self.text:
            reading = read(reply, question.asked, self.wanted)
            return reading.value, reading.rationale
        return expected(reply.first_token, range(1, self.points + 1), self.min_mass)

    def _scores(self, found: list[Found[tuple[float, Any]]] | None) -> list[Score]:
        if found is None:
            return [Score(self.name, None, "judge_single", status="empty_response")]
        refs = [key for f in found for key in f.refs]
        known = [f.value for f in found if f.value is not None]
        if not known:
            return [Score(self.name, None, "judge_single", status=found[0].status, refs=refs)]
        mean = math.fsum(value for value, _ in known) / len(known)
        reasons = known[0][1] if self.text else None
        out = [Score(self.name, mean, "judge_single", rationale=reasons, refs=refs)]
        if not self.text:
            out.append(Score(self.name, known[0][1], "judge_single", aspect="mass"))
        if len(known) > 1:
            spread = math.sqrt(math.fsum((value - mean) ** 2 for value, _ in known) / len(known))
            out.append(Score(self.name, spread, "judge_single", aspect="sd"))
        return out

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """What was asked, and how many prompts had a reference where one is wanted."""
        if self.reference is None:
            return self.asker.facts()
        rows = list(groups)
        return self.asker.facts() | {"with_reference": sum(bool(g.task_meta.get(self.reference)) for g in rows)}

    def close(self) -> None:
        self.asker.close()
