"""Asking a model through an engine: one large call, second tries where a reply cannot be read, every reply counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prefine.engines.base import Reply, Request, Sampling
from prefine.engines.tries import attempted
from prefine.errors import PrefineError
from prefine.label.templates import Filled
from prefine.label.verdicts import PARSER, Unread
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import digest

if TYPE_CHECKING:
    from prefine.engines.session import Session

V = TypeVar("V")


@dataclass(frozen=True)
class Question:
    """What is asked once."""

    asked: Filled
    tag: str = ""
    """Tells apart requests that are equal and must be answered each for itself."""
    about: Any = None
    """For whoever reads the reply."""


@dataclass
class Found(Generic[V]):
    """The answer, or why there is none, with the ledger's keys of all tries, the last one decisive."""

    value: V | None = None
    status: str = "ok"
    refs: list[str] = field(default_factory=list)


class Asker:
    """Asks one model with one sampling. Work begins with `open`."""

    def __init__(self, engine: dict[str, Any], sampling: Sampling, max_reasks: int) -> None:
        self.block, self.sampling, self.max_reasks = engine, sampling, max_reasks
        self.session: Session | None = None
        self.purpose = ""
        self.repeat = 0
        """Another number asks everything once more, with other random numbers: how consistent is the judge?"""
        self.counts: Counter[str] = Counter()

    def open(self, recipe: Recipe, purpose: str, *templates: str) -> dict[str, Any]:
        """Connect; facts for the manifest, among them `judge`, the identity of model, prompts, sampling and parser."""
        version = digest({"templates": templates, "parser": PARSER})[:8]
        self.purpose = f"{purpose}:{version}"
        self.session = open_session(self.block, recipe)
        engine = self.session.engine
        if self.sampling.top_logprobs and "first_token" not in engine.features:
            name = self.block.get("name")
            raise PrefineError(
                f"{purpose}: the engine '{name}' does not tell the first token's probabilities, which this mode reads; "
                "use another engine, or a mode that reads text"
            )
        sampling = {k: v for k, v in vars(self.sampling).items() if v != getattr(Sampling(), k)}
        identity = self.session.identity
        whole = {"engine": identity, "purpose": self.purpose, "sampling": vars(self.sampling)}
        return {
            "judge": digest(whole)[:12],
            "engine": identity,
            "prompts": version,
            "parser": PARSER,
            "sampling": {**sampling, "temperature": self.sampling.temperature},
        }

    def ask(
        self, questions: Sequence[Question], read: Callable[[Question, Reply], V], step: Step | None = None
    ) -> list[Found[V]]:
        """The answers in the order of the questions. `read` raises `Unread` where a reply has none.

        A reply with `parse_error` is asked for again, up to `max_reasks` times; a refusal is not.
        """
        assert self.session is not None, "open() comes first"
        out: list[Found[V]] = [Found() for _ in questions]
        pending = list(range(len(questions)))
        for attempt in range(self.max_reasks + 1):
            if not pending:
                break
            requests = [self._request(questions[i], attempt) for i in pending]
            replies = self.session.ask(requests, step if attempt == 0 else None)
            self.counts["reasked" if attempt else "asked"] += len(pending)
            for i, request, reply in zip(pending, requests, replies, strict=True):
                out[i].refs.append(request.key(self.session.identity))
                out[i].value, out[i].status = _answer(questions[i], reply, read)
                if out[i].status == "parse_error":
                    self.session.unparsed(request, "no verdict")
            pending = [i for i in pending if out[i].status == "parse_error"]
        self.counts.update(f.status for f in out if f.status != "ok")
        return out

    def _request(self, question: Question, attempt: int) -> Request:
        sampling, tag = self.sampling, question.tag
        if self.repeat:
            tag += f"~{self.repeat}"
            sampling = replace(sampling, seed=sampling.seed + self.repeat)
        first = Request(({"role": "user", "content": question.asked.text},), sampling, purpose=self.purpose, tag=tag)
        return attempted(first, attempt)

    def facts(self) -> dict[str, Any]:
        """What was asked in this process: questions, second tries, replies without an answer by status; and calls."""
        out: dict[str, Any] = {"questions": dict(sorted(self.counts.items()))}
        return out | ({"session": self.session.facts()} if self.session is not None else {})

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None


def open_session(block: dict[str, Any], recipe: Recipe) -> Session:
    """The engine of a block, prepared, with the run's ledger."""
    from prefine.engines import session

    return session.open_session(block, recipe)


def _answer(question: Question, reply: Reply, read: Callable[[Question, Reply], V]) -> tuple[V | None, str]:
    reason = reply.error.partition(":")[0].strip()
    if reply.finish_reason == "content_filter" or reason == "content_filter":
        return None, "refused"
    if not reply.ok:
        return None, reason or reply.status
    try:
        return read(question, reply), "ok"
    except Unread as unread:
        return None, unread.status


def scaled(step: Step, units: float, questions: int) -> Step:
    """A `Step` for `questions` questions that together are `units` of the caller's."""

    def count(n: float = 1, *, note: str | None = None) -> None:
        step(n * units / questions, note=note)

    return count
