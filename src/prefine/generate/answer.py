"""Responses by a model behind an engine: a teacher in this process, or any server."""

from __future__ import annotations

from typing import Any, Literal

from prefine.engines.tries import failure
from prefine.generate.asking import Asking, sample_request, with_system, written
from prefine.progress import Step
from prefine.registry import generators
from prefine.schema import Candidate, Group


@generators.register("answer")
class Answer(Asking):
    """Asks a model behind an engine, each sample by a request of its own; what was answered is never asked again.

    Formula: sample i of a prompt is drawn with the seed seed + i; its request also names the prompt and i
    Defaults: system: null adds nothing; a text is told to the model before the prompt's own system message, and kept
    with the response, not in the prompt; seed: null is the recipe's seed; a failed sample is left out and counted
    Needs: engine, who answers
    """

    def __init__(
        self,
        engine: dict,
        system: str | None = None,
        role: Literal["teacher", "pool", "student"] = "teacher",
        **drawing: Any,
    ) -> None:
        super().__init__(engine, **drawing)
        self.system, self.role = system, role

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        requests = [
            sample_request(with_system(g.messages, self.system), self.sampling, i, "answer", g.id)
            for g in groups
            for i in range(num_responses)
        ]
        replies = iter(self.session.ask(requests, step))
        principle = {"system_principle": self.system} if self.system else {}
        writer = self.writer(role=self.role, **principle)
        self.why = {}
        out: list[list[Candidate]] = []
        for group in groups:
            found = []
            for i in range(num_responses):
                reply = next(replies)
                reason = failure(reply)
                if reason is None:
                    found.append(written(group.id, reply.text, reply, {**writer, "index": str(i)}))
                else:
                    self.why.setdefault(group.id, reason)
                    self.counts[f"failed_{reason}"] += 1
            out.append(found)
        return out
