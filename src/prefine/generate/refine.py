"""Prompts that a teacher improves in the light of its own answer, and its answer to the last one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefine.engines.base import Reply, Request
from prefine.engines.replies import tagged
from prefine.engines.texts import load_text, transcript
from prefine.engines.tries import failure
from prefine.generate.asking import Asking, sample_request, written
from prefine.generate.flaws import flaw, truecased
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import generators
from prefine.schema import Candidate, Group, Message, group_id

REWRITING = ("translation", "summarization")
"""Tasks whose answers may say the prompt again."""
LONGEST = 8
"""An improved prompt may have this many times the words of the first one, and at least `ROOM` words."""
ROOM = 150


@generators.register("refine")
class Refine(Asking):
    """A teacher answers, improves the prompt in the light of its answer, and so on; the last prompt and its answers.

    Formula: x_0 the prompt, y_j = teacher(x_j), x_(j+1) = improve(x_j, y_j) for j < rounds; out: x_rounds, y_rounds
    Paper: Zephyr, Tunstall et al. 2023 (arXiv:2310.16944), section 3, distilled supervised fine-tuning
    Defaults: template: null is texts/improve.txt, else a file with {prompt} and {answer}; an improvement that cannot be
    used ends the rounds of its prompt; truecase gives texts without any capital letter theirs; filter drops answers
    that refuse, are cut, repeat, speak of themselves as of a machine or are in capitals, and prompts without any left
    Needs: engine, the teacher
    """

    def __init__(
        self,
        engine: dict,
        rounds: int = 1,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        template: str | None = None,
        truecase: bool = False,
        filter: bool = True,
        seed: int | None = None,
    ) -> None:
        if rounds < 0:
            raise ValueError(f"rounds must be 0 or more, not {rounds}")
        super().__init__(engine, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        self.rounds, self.template, self.truecase, self.filter = rounds, template, truecase, filter
        self._final: dict[str, list[Message]] = {}

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self.text = load_text(self.template, Path(__file__).parent / "texts" / "improve.txt", ["prompt", "answer"])
        return super().prepare(recipe) | {"texts": {"improve": self.text.version}}

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        """`step` counts the answers to the last prompts only; the rounds before them are the greater part."""
        self.why = {}
        self._final = {g.id: self._cased(g.messages) for g in groups}
        going = groups
        for j in range(self.rounds):
            going = self._improve(going, j)
        return self._answers(groups, num_responses, step)

    def finished(self, group: Group, candidates: list[Candidate]) -> Group:
        messages = self._final[group.id]
        new = group_id(messages, group.task)
        meta = dict(group.task_meta)
        if new != group.id:
            meta.setdefault("split_key", next((m["content"] for m in group.messages if m["role"] == "user"), ""))
        return replace(group, id=new, messages=messages, task_meta=meta, candidates=candidates, comparisons=[])

    def _improve(self, groups: list[Group], j: int) -> list[Group]:
        """One round; the groups whose prompt was improved, for the next one."""
        asked = [sample_request(self._final[g.id], self.sampling, 0, "refine:answer", g.id, f":{j}") for g in groups]
        answers = [(g, r) for g, r in zip(groups, self.session.ask(asked), strict=True) if self._usable(r)]
        requests = [self._improvement(g, r.text, j) for g, r in answers]
        improved = []
        for (group, _), reply in zip(answers, self.session.ask(requests), strict=True):
            before = self._final[group.id][-1]["content"]
            text = None if failure(reply) or reply.finish_reason == "length" else tagged(reply.text, "improved")
            if text and text != before and len(text.split()) <= max(ROOM, LONGEST * len(group.prompt.split())):
                last: Message = {"role": self._final[group.id][-1]["role"], "content": text}
                self._final[group.id] = self._cased([*self._final[group.id][:-1], last])
                self.counts["improved_prompts"] += 1
                improved.append(group)
            else:
                self.counts["improvements_not_usable"] += 1
        return improved

    def _usable(self, reply: Reply) -> bool:
        ok = failure(reply) is None and bool(reply.text.strip())
        self.counts["improvements_not_usable"] += not ok
        return ok

    def _improvement(self, group: Group, answer: str, j: int) -> Request:
        filled = self.text.fill(prompt=transcript(self._final[group.id]), answer=answer)
        message: Message = {"role": "user", "content": filled}
        tag = "" if self.sampling.temperature == 0 else f"{group.id}:{j}"
        return Request((message,), self.sampling, f"refine:{self.text.version}", tag)

    def _answers(self, groups: list[Group], n: int, step: Step) -> list[list[Candidate]]:
        asked = [
            sample_request(self._final[g.id], self.sampling, i, "refine:answer", g.id, f":{self.rounds}")
            for g in groups
            for i in range(n)
        ]
        replies = iter(self.session.ask(asked, step))
        writer = self.writer(role="teacher", rounds=str(self.rounds))
        out = []
        for group in groups:
            new = group_id(self._final[group.id], group.task)
            found = []
            for i in range(n):
                reply = next(replies)
                text = truecased(reply.text) if self.truecase else reply.text
                reason = failure(reply) or (self._flaw(group, text, reply) if self.filter else None)
                if reason is None:
                    found.append(written(new, text, reply, {**writer, "index": str(i)}))
                else:
                    self.why.setdefault(group.id, reason)
                    self.counts[f"dropped_response_{reason}"] += 1
            out.append(found)
        return out

    def _flaw(self, group: Group, text: str, reply: Reply) -> str | None:
        prompt = self._final[group.id][-1]["content"]
        return flaw(text, prompt, reply.finish_reason, rewriting=group.task in REWRITING)

    def _cased(self, messages: list[Message]) -> list[Message]:
        if not self.truecase:
            return messages
        return [{"role": m["role"], "content": truecased(m["content"])} if m["role"] == "user" else m for m in messages]
