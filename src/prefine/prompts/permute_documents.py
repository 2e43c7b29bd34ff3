"""Prompts whose documents stand in another order, so that an answer cannot depend on where its evidence is."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import permutations

from prefine.data.split import split_key
from prefine.engines.chance import sample, unit
from prefine.errors import PrefineError
from prefine.progress import Step
from prefine.prompts.base import Maker, Write
from prefine.recipe import Recipe
from prefine.registry import makers
from prefine.rundir import Counts
from prefine.schema import Candidate, Group, Message, candidate_id, group_id

PART = 2000
ORDER = "prefine.document_order"
"""The entry of `task_meta` with the former places, from 0, of the documents in their new order."""
FEW = 5
"""Up to this many documents all orders are listed and drawn from; of more, orders are drawn until they differ."""


@makers.register("permute_documents")
class PermuteDocuments(Maker):
    """Copies of prompts with their documents in other orders, and the same responses, scores and preferences.

    Formula: n distinct orders of the documents of a prompt, none of them its own, drawn by a hash of the prompt
    Paper: position-agnostic parameter-efficient fine-tuning, 2024 (arXiv:2404.01430)
    Defaults: document is a regular expression for one document (^ is the beginning of a line), by default for a
    paragraph that begins with Document, Passage, Context or Source and a number; its group `label`, if there is one,
    stays at its place while the text moves; `gold_document` of task_meta (a place, from 0) becomes the new place
    """

    def __init__(
        self,
        n: int = 2,
        document: str = r"^(?:Document|Passage|Context|Source) ?\[?(?P<label>\d+)\b[^\n]*"
        r"(?:\n(?!(?:Document|Passage|Context|Source) ?\[?\d)[^\n]*\S[^\n]*)*",
        seed: int | None = None,
    ) -> None:
        if n < 1:
            raise ValueError(f"n must be 1 or more, not {n}")
        self.n, self.seed = n, seed
        try:
            self.pattern = re.compile(document, re.MULTILINE)
        except re.error as error:
            raise ValueError(f"document is no regular expression: {error}") from error

    def prepare(self, recipe: Recipe) -> dict[str, object]:
        self.seed = recipe.seed if self.seed is None else self.seed
        return {"maker": {"seed": str(self.seed)}}

    def make(self, seeds: list[Group], write: Write, done: list[Group], step: Step) -> Counts:
        counts, written = Counts(), {g.id for g in done}
        taken = {g.id for g in seeds}
        waiting: list[Group] = []
        for seed in seeds:
            orders = self.orders(seed)
            counts.rows_in += max(len(orders), 1)
            if not orders:
                counts.drop("fewer_than_two_documents")
            for order in orders:
                group = self.permuted(seed, order)
                if group.id in taken:
                    counts.drop("same_prompt_as_another")
                    continue
                taken.add(group.id)
                counts.rows_out += 1
                if group.id not in written:
                    waiting.append(group)
            if len(waiting) >= PART:
                write(waiting)
                step(len(waiting))
                waiting = []
        write(waiting)
        step(len(waiting))
        return counts

    def orders(self, seed: Group) -> list[tuple[int, ...]]:
        """`n` orders of the documents, fewer where there are not so many."""
        k = len(self.pattern.findall(seed.prompt))
        own = tuple(range(k))
        if k < 2:
            return []
        if k <= FEW:
            return sample([p for p in permutations(own) if p != own], self.n, "order", self.seed, seed.id)
        found: dict[tuple[int, ...], None] = {}
        draw = 0
        while len(found) < min(self.n, math.factorial(k) - 1):
            order = tuple(sorted(own, key=lambda i: unit("order", self.seed, seed.id, draw, i)))
            if order != own:
                found[order] = None
            draw += 1
        return list(found)

    def permuted(self, seed: Group, order: tuple[int, ...]) -> Group:
        """The prompt with document order[i] at place i."""
        matches = list(self.pattern.finditer(seed.prompt))
        if sorted(order) != list(range(len(matches))):
            raise PrefineError(f"prompt {seed.id[:12]} has {len(matches)} documents, not {len(order)}")
        parts, at = [], 0
        for place, match in enumerate(matches):
            parts += [seed.prompt[at : match.start()], _labeled(matches[order[place]], match)]
            at = match.end()
        last: Message = {"role": seed.messages[-1]["role"], "content": "".join([*parts, seed.prompt[at:]])}
        messages = [*seed.messages[:-1], last]
        meta = {**seed.task_meta, "split_key": split_key(seed), ORDER: ",".join(map(str, order))}
        gold = seed.task_meta.get("gold_document", "")
        if gold.isdigit() and int(gold) in order:
            meta["gold_document"] = str(order.index(int(gold)))
        return _with_messages(seed, messages, meta)


def _labeled(document: re.Match[str], place: re.Match[str]) -> str:
    """A document with the label of the place where it comes to stand."""
    text = document[0]
    if "label" not in document.re.groupindex or document["label"] is None or place["label"] is None:
        return text
    start, end = (x - document.start() for x in document.span("label"))
    return text[:start] + place["label"] + text[end:]


def _with_messages(seed: Group, messages: list[Message], meta: dict[str, str]) -> Group:
    """The group with another prompt; its responses get ids of their own, and remember where they come from."""
    new = group_id(messages, seed.task)
    ids = {c.id: candidate_id(new, c.completion, f"copy:{c.id}") for c in seed.candidates}
    candidates: list[Candidate] = [
        replace(
            c, id=ids[c.id], generator={**c.generator, "copy_of": c.id}, scores=list(c.scores), labels=dict(c.labels)
        )
        for c in seed.candidates
    ]
    comparisons = [replace(c, a=ids.get(c.a, c.a), b=ids.get(c.b, c.b)) for c in seed.comparisons]
    source = {**seed.source, "copy_of": seed.id}
    return replace(
        seed, id=new, messages=messages, candidates=candidates, comparisons=comparisons, task_meta=meta, source=source
    )
