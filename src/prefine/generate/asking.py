"""What generators that ask an engine share: the session, the seeds of samples, replies as candidates, reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefine.engines.base import Reply, Request, Sampling
from prefine.engines.drawing import AsksEngine
from prefine.generate.base import Generator
from prefine.recipe import Recipe
from prefine.schema import Candidate, Group, Message, candidate_id, canonical_json

if TYPE_CHECKING:
    from prefine.engines.session import Session


class Asking(AsksEngine, Generator):
    """Asks one engine. `why` has the reason for every group of the last part without a response."""

    def __init__(self, engine: dict, **drawing: Any) -> None:
        super().__init__(engine, **drawing)
        self.why: dict[str, str] = {}

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self._session = open_session(self.block, recipe)
        self.sampling = self.seeded(recipe)
        return {"generator": self.writer()}

    def writer(self, **more: str) -> dict[str, str]:
        """Who wrote a response, as flat strings."""
        identity = {k: str(v) for k, v in self.session.identity.items()}
        drawn = {k: str(v) for k, v in vars(self.sampling).items() if k not in ("stop", "top_logprobs")}
        return {**identity, **drawn, **more}

    def refusal(self, group: Group) -> str | None:
        return self.why.get(group.id)

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        return {"session": self.session.facts()}


def nth(sampling: Sampling, index: int) -> Sampling:
    """The sampling of one of several samples: its seed is the next after that of the one before."""
    return replace(sampling, seed=sampling.seed + index)


def sample_request(
    messages: Sequence[Message], sampling: Sampling, index: int, purpose: str, group: str, tag: str = ""
) -> Request:
    """One of several answers to a prompt. At temperature 0 all are the same request, and are asked once."""
    if sampling.temperature == 0:
        return Request(tuple(messages), sampling, purpose, tag)
    return Request(tuple(messages), nth(sampling, index), purpose, f"{group}:{index}{tag}")


def written(group: str, text: str, reply: Reply, writer: dict[str, str]) -> Candidate:
    """A reply, or a part of one, as a candidate of the group with that id."""
    completion: list[Message] = [{"role": "assistant", "content": text.strip()}]
    return Candidate(
        candidate_id(group, completion, canonical_json(writer)),
        completion,
        {**writer, "ledger_key": reply.key} if reply.key else writer,
        finish_reason=reply.finish_reason,
        n_tokens=reply.completion_tokens or None,
        avg_logprob=math.fsum(reply.logps) / len(reply.logps) if reply.logps else None,
    )


def with_system(messages: Sequence[Message], text: str | None) -> list[Message]:
    """The messages with a text before their system message, or as one."""
    out = list(messages)
    if not text:
        return out
    if out and out[0]["role"] == "system":
        return [{"role": "system", "content": f"{text}\n\n{out[0]['content']}"}, *out[1:]]
    return [{"role": "system", "content": text}, *out]


def open_session(block: dict[str, Any], recipe: Recipe) -> Session:
    """The engine of a block, prepared, with the run's ledger."""
    from prefine.engines import session

    return session.open_session(block, recipe)
