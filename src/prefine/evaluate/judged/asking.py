"""Asking the judge of a benchmark through an engine, and a labeler that judges in its place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prefine import registry
from prefine.engines.base import Reply, Request, Sampling
from prefine.engines.tries import attempted
from prefine.evaluate.judged.template import Template
from prefine.label.agreement import value_of
from prefine.label.asking import open_session
from prefine.label.base import Labeler
from prefine.label.pairwise import order_facts
from prefine.label.verdicts import Unread
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Candidate, Comparison, Group, Message, digest

if TYPE_CHECKING:
    from prefine.engines.session import Session

V = TypeVar("V")


@dataclass
class Answer(Generic[V]):
    """A verdict, or None and why; `text` is the reply as it came."""

    value: V | None = None
    status: str = "ok"
    text: str = ""


class EngineJudge:
    """One model with one sampling, asked with a benchmark's own messages. Work begins with `open`."""

    def __init__(self, engine: dict[str, Any], sampling: Sampling, max_reasks: int) -> None:
        self.block, self.sampling, self.max_reasks = engine, sampling, max_reasks
        self.counts: Counter[str] = Counter()
        self._session: Session | None = None

    def open(self, recipe: Recipe, benchmark: str, templates: Sequence[Template], name: str | None) -> dict[str, Any]:
        """Connect. The facts that a number depends on: the judge's name, its model, its prompts and its sampling."""
        self._session = open_session(self.block, recipe)
        version = digest([t.hash for t in templates])[:12]
        self.purpose = f"{benchmark}:{version}"
        identity = self._session.identity
        self.name = name or f"{_model(self.block, identity)}, {version}"
        sampling = {"temperature": self.sampling.temperature, "max_tokens": self.sampling.max_tokens}
        server = {"base_url": url} if (url := _inner(self.block).get("base_url")) else {}
        return {"name": self.name, "engine": identity, **server, "templates": version, "sampling": sampling}

    @property
    def session(self) -> Session:
        assert self._session is not None, "open() comes first"
        return self._session

    @property
    def first_token(self) -> bool:
        """Whether the engine tells the first token's probabilities."""
        return "first_token" in self.session.engine.features

    def ask(
        self,
        questions: Sequence[tuple[Message, ...]],
        read: Callable[[Reply], V],
        step: Step | None = None,
        go_on: Callable[[Reply], tuple[Message, ...]] | None = None,
    ) -> list[Answer[V]]:
        """The verdicts in the order of the questions. `read` raises `Unread` for a reply that has none.

        A reply with `parse_error` is asked for again up to `max_reasks` times; with `go_on`, one with `unfinished`
        once more, with these messages after the question.
        """
        out: list[Answer[V]] = [Answer() for _ in questions]
        pending, asked = list(range(len(questions))), list(questions)
        for attempt in range(self.max_reasks + 1 + (go_on is not None)):
            if not pending:
                break
            requests = [self._request(asked[i], attempt if asked[i] is questions[i] else 0) for i in pending]
            replies = self.session.ask(requests, step if attempt == 0 else None)
            self.counts["reasked" if attempt else "asked"] += len(pending)
            again = []
            for i, request, reply in zip(pending, requests, replies, strict=True):
                out[i] = _answer(reply, read)
                if out[i].status == "parse_error":
                    self.session.unparsed(request, "no verdict")
                if out[i].status == "unfinished" and go_on is not None and asked[i] is questions[i]:
                    asked[i] = (*questions[i], *go_on(reply))
                    again.append(i)
                elif out[i].status == "parse_error" and attempt < self.max_reasks and asked[i] is questions[i]:
                    again.append(i)
            pending = again
        self.counts.update(a.status for a in out if a.status != "ok")
        return out

    def _request(self, messages: tuple[Message, ...], attempt: int) -> Request:
        return attempted(Request(messages, self.sampling, purpose=self.purpose), attempt)

    def facts(self) -> dict[str, Any]:
        """What was asked in this process, what had no verdict by status, and the calls."""
        return {"questions": dict(sorted(self.counts.items())), "session": self.session.facts()}

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _model(block: dict[str, Any], identity: dict[str, str]) -> str:
    """The judge's model as the recipe names it, with the beginning of what identifies it, where that is another."""
    model = _inner(block).get("model", "")
    shown = str(model.get("path", "") if isinstance(model, dict) else model)
    known = str(identity.get("model", ""))
    shown = shown.rstrip("/").rpartition("/")[2] or known or str(block["name"])
    return shown if known.endswith(shown) or not known else f"{shown} {known[:8]}"


def _inner(block: dict[str, Any]) -> dict[str, Any]:
    """The block of the engine that answers, where another one only hands on."""
    found = block.get("engine")
    return found if isinstance(found, dict) else block


def _answer(reply: Reply, read: Callable[[Reply], V]) -> Answer[V]:
    if not reply.ok or reply.finish_reason == "content_filter":
        return Answer(None, reply.error.partition(":")[0].strip() or reply.finish_reason or reply.status, reply.text)
    try:
        return Answer(read(reply), "ok", reply.text)
    except Unread as unread:
        return Answer(None, unread.status, reply.text)


@dataclass
class Judged:
    """What a labeler says of two responses: the chance of the second.

    `orders`: that chance where the second response was shown second, and where it was shown first; None: not known.
    """

    p: float | None
    orders: list[float | None]
    status: str = "ok"


class LabelerJudge:
    """A labeler in the place of a benchmark's judge: a reward model, a function, a judge with other questions."""

    def __init__(self, block: dict[str, Any]) -> None:
        self.block = registry.labelers.check(block)
        self.labeler: Labeler = registry.labelers.build(block)
        self.comparisons: list[Comparison] = []

    def open(self, recipe: Recipe, name: str | None) -> dict[str, Any]:
        """Load; the facts that a number depends on."""
        facts = self.labeler.prepare(recipe)
        self.name = name or f"{self.labeler.name}, {digest([self.block, facts.get('judge', '')])[:12]}"
        return {"name": self.name, "labeler": self.block, **{k: v for k, v in facts.items() if k != "name"}}

    def pairs(self, groups: list[Group], step: Step) -> list[Judged]:
        """For groups of two candidates how the second fares against the first."""
        out = []
        for group, found in zip(groups, self.labeler.label(groups, step), strict=True):
            first, second = group.candidates
            said = next((c for c in found.comparisons if {c.a, c.b} == {first.id, second.id}), None)
            if said is not None:
                self.comparisons.append(said)
                out.append(_turned(said, said.a == second.id))
                continue
            for candidate, scores in zip(group.candidates, found.scores, strict=True):
                candidate.scores.extend(scores)
            values = [value_of(c, self.labeler.name) for c in (first, second)]
            out.append(_by_scores(values, first))
        return out

    def scores(self, groups: list[Group], step: Step) -> list[Answer[float]]:
        """The score of the only candidate of each group."""
        out: list[Answer[float]] = []
        for group, found in zip(groups, self.labeler.label(groups, step), strict=True):
            (candidate,) = group.candidates
            candidate.scores.extend(found.scores[0])
            value = value_of(candidate, self.labeler.name)
            status = next((s.status for s in found.scores[0] if s.value is None), "no_score")
            out.append(Answer(value, "ok" if value is not None else status))
        return out

    def facts(self) -> dict[str, Any]:
        """How much the order mattered, for a labeler that compared in both."""
        return {"orders": order_facts(self.comparisons)} if self.comparisons else {}

    def close(self) -> None:
        self.labeler.close()


def _turned(said: Comparison, straight: bool) -> Judged:
    """The chance of the second response; `straight` where the comparison names it first."""
    chance = said.strength if said.strength is not None else {"a": 1.0, "b": 0.0, "tie": 0.5}.get(said.outcome)
    if said.outcome == "invalid" or chance is None:
        return Judged(None, [None, None], "no_verdict")
    first, second = (*said.orders, None, None)[:2]
    if straight:
        return Judged(chance, [second, first])
    return Judged(1 - chance, [None if p is None else 1 - p for p in (first, second)])


def _by_scores(values: Sequence[float | None], first: Candidate) -> Judged:
    ours, theirs = values[1], values[0]
    if ours is None or theirs is None:
        status = next((s.status for s in first.scores if s.value is None), "no_score")
        return Judged(None, [None, None], status)
    chance = 0.5 if math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-9) else float(ours > theirs)
    return Judged(chance, [chance, chance])
