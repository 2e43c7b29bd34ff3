"""Which of two responses is better? One judge asked in both orders, and what the two verdicts come to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prefine.engines.base import Reply, Sampling
from prefine.label.asking import Asker, Found, Question, scaled
from prefine.label.first_token import ALTERNATIVES, checked, probabilities
from prefine.label.question import LABELS, Template, load_template
from prefine.label.templates import Filled, conversation, load_form
from prefine.label.verdicts import WINNER, read
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Comparison, Group

Mode = Literal["text", "first_token"]
Combine = Literal["strict", "soft"]

SAME = 1e-9


@dataclass(frozen=True)
class Match:
    """Two texts to compare; the group they answer, whose id tells samples apart."""

    group: Group
    a: str
    b: str


@dataclass
class Verdict:
    """What both orders come to. `p` is the chance of `a`; `orders` are those with `a` shown first, and second."""

    outcome: str
    p: float | None
    orders: list[float | None]
    status: str = "ok"
    refs: list[str] = field(default_factory=list)
    rationale: str | None = None


@dataclass(frozen=True)
class Asking:
    """How pairs are asked about: the settings that all judges of pairs share."""

    engine: dict[str, Any]
    mode: Mode
    template: str | None
    combine: Combine
    swap: bool
    reference: str | None
    judge_samples: int
    temperature: float
    max_new_tokens: int
    min_mass: float
    max_reasks: int
    seed: int


class PairJudge:
    """Asks a model which of two texts is better."""

    def __init__(self, how: Asking) -> None:
        self.how = how
        if how.mode == "text":
            sampling = Sampling(how.temperature, max_tokens=how.max_new_tokens, seed=how.seed)
        else:
            sampling = Sampling(max_tokens=1, top_logprobs=ALTERNATIVES, seed=how.seed)
        self.samples = how.judge_samples if how.mode == "text" else 1
        self.asker = Asker(how.engine, sampling, how.max_reasks if how.mode == "text" else 0)

    def open(self, recipe: Recipe, purpose: str) -> dict[str, Any]:
        """Connect; facts for the manifest."""
        if self.how.mode == "text":
            slots = ("prompt", "a", "b")
            self.form = load_form(self.how.template, "judge_pairwise.txt", slots, ("reference",))
        else:
            self.form = load_template(self.how.template)
        return self.asker.open(recipe, purpose, self.form.text)

    @property
    def calls(self) -> int:
        """Requests for one pair."""
        return self.samples * (2 if self.how.swap else 1)

    def compare(self, matches: Sequence[Match], step: Step | None = None) -> list[Verdict]:
        """A verdict for each pair, all asked about at once. `step` counts pairs."""
        questions = [q for match in matches for q in self._questions(match)]
        counted = scaled(step, len(matches), len(questions)) if step is not None and questions else None
        found = self.asker.ask(questions, self._read, counted)
        each = self.calls
        return [self._verdict(found[i * each : (i + 1) * each], m) for i, m in enumerate(matches)]

    def _questions(self, match: Match) -> list[Question]:
        """Every sample of the question with `a` first, then those with `b` first."""
        pairs = [(match.a, match.b), (match.b, match.a)]
        if not self.how.swap:
            pairs = [pairs[self._starts(match)]]
        out = []
        for first, second in pairs:
            asked = self._filled(match.group, first, second)
            for k in range(self.samples):
                tag = f"{match.group.id[:16]}:{k}" if self.how.temperature > 0 and self.how.mode == "text" else ""
                out.append(Question(asked, tag))
        return out

    def _starts(self, match: Match) -> int:
        """Which text is shown first where only one order is asked: 0 for `a`, by a hash of both."""
        texts = "\0".join([match.group.id, *sorted((match.a, match.b))])
        first = hashlib.sha256(texts.encode("utf-8", "surrogatepass")).digest()[0] % 2
        return first if match.a <= match.b else 1 - first

    def _filled(self, group: Group, first: str, second: str) -> Filled:
        texts: dict[str, str | None] = {"prompt": conversation(group.messages), "a": first, "b": second}
        if not isinstance(self.form, Template):
            texts["reference"] = group.task_meta.get(self.how.reference or "") or None
        return self.form.filled(texts)

    def _read(self, question: Question, reply: Reply) -> tuple[float, str | None]:
        """The chance of the text shown first, and the reasons."""
        if self.how.mode == "text":
            reading = read(reply, question.asked, WINNER)
            return reading.value, reading.rationale
        first, second, _ = checked(probabilities(reply.first_token, LABELS), self.how.min_mass)
        # A judge who finds neither acceptable prefers neither.
        return (first / (first + second) if first + second > 0 else 0.5), None

    def _verdict(self, found: list[Found[tuple[float, str | None]]], match: Match) -> Verdict:
        shown = [found[: self.samples], found[self.samples :]]
        if not self.how.swap:
            shown = [[], found] if self._starts(match) else [found, []]
        values = [_mean([f.value[0] for f in order if f.value is not None]) for order in shown]
        orders = [values[0], None if values[1] is None else 1 - values[1]]
        refs = [key for f in found for key in f.refs]
        known = [p for p in orders if p is not None]
        if len(known) < (2 if self.how.swap else 1):
            status = next(f.status for order in shown if order and all(f.value is None for f in order) for f in order)
            return Verdict("invalid", None, orders, status, refs)
        p = math.fsum(known) / len(known)
        rationale = next((f.value[1] for f in found if f.value is not None and f.value[1]), None)
        return Verdict(outcome(known, self.how.combine), p, orders, "ok", refs, rationale)

    def won(self, verdict: Verdict) -> float | None:
        """The share that `a` won: with `soft` the chance itself."""
        return won(verdict.outcome, verdict.p, self.how.combine)


def outcome(orders: Sequence[float], combine: Combine) -> str:
    """`a`, `b` or `tie`. `strict`: only where all orders agree; `soft`: by the mean of the chances of `a`."""
    if combine == "strict":
        if all(p > 0.5 + SAME for p in orders):
            return "a"
        return "b" if all(p < 0.5 - SAME for p in orders) else "tie"
    p = math.fsum(orders) / len(orders)
    return "a" if p > 0.5 + SAME else "b" if p < 0.5 - SAME else "tie"


def won(result: str, p: float | None, combine: Combine) -> float | None:
    """The share of a comparison that `a` won, or None for an invalid one."""
    if combine == "soft":
        return p
    return {"a": 1.0, "b": 0.0, "tie": 0.5}.get(result)


def unique_texts(group: Group) -> list[str]:
    """The distinct responses that have text, in an order that does not depend on that of the candidates."""
    return sorted({c.text for c in group.candidates if c.text.strip()})


def writers(group: Group) -> dict[str, str]:
    """For each text the id of its response; the smallest where several responses are equal."""
    return {c.text: c.id for c in sorted(group.candidates, key=lambda c: c.id, reverse=True)}


def as_comparison(verdict: Verdict, match: Match, ids: dict[str, str], judge: str) -> Comparison:
    """The verdict as it is stored in a group."""
    return Comparison(
        ids[match.a],
        ids[match.b],
        verdict.outcome,
        judge,
        verdict.p,
        orders=list(verdict.orders),
        refs=verdict.refs,
        rationale=verdict.rationale,
    )


def order_facts(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """How a judge of pairs minds the order, over comparisons that were asked in both.

    first_wins: mean chance of the response shown first, 0.5 for a judge that does not mind; position_bias: the
    difference to the second's; flip_rate: share of pairs in which both orders name a winner, and not the same one.
    tie_rate and invalid_rate are over all comparisons.
    """
    rows = list(comparisons)
    both = [(c.orders[0], c.orders[1]) for c in rows if len(c.orders) == 2 and None not in c.orders]
    pairs = [(x, y) for x, y in both if x is not None and y is not None]
    first = _mean([p for x, y in pairs for p in (x, 1 - y)])
    flips = _mean([float((x - 0.5) * (y - 0.5) < 0) for x, y in pairs])
    return {
        "comparisons": len(rows),
        "first_wins": _rounded(first),
        "position_bias": _rounded(None if first is None else 2 * first - 1),
        "flip_rate": _rounded(flips),
        "tie_rate": _rounded(_mean([float(c.outcome == "tie") for c in rows])),
        "invalid_rate": _rounded(_mean([float(c.outcome == "invalid") for c in rows])),
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
