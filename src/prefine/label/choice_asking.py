"""Multiple choice through an engine: pairs in both orders, or all responses at once in every cyclic shift."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from itertools import combinations, permutations

from prefine.engines.base import Reply
from prefine.label.asking import Asker, Question, scaled
from prefine.label.first_token import checked, probabilities
from prefine.label.question import LABELS, Answer, Template, conversation
from prefine.label.templates import Form
from prefine.progress import Step
from prefine.schema import Group

Place = tuple[int, int, int]
"""A question: the group, the response shown first, the one shown second."""

LETTERS = string.ascii_uppercase


def places(texts: Sequence[Sequence[str]], swap: bool) -> list[Place]:
    """Every pair of distinct texts of each group, in both orders with `swap`."""
    out = []
    for g, unique in enumerate(texts):
        order = sorted(range(len(unique)), key=lambda k: unique[k])
        out += [(g, i, j) for i, j in (permutations(order, 2) if swap else combinations(order, 2))]
    return out


def ask_pairs(
    asker: Asker,
    template: Template,
    groups: Sequence[Group],
    texts: Sequence[Sequence[str]],
    swap: bool,
    min_mass: float,
    step: Step,
) -> tuple[dict[Place, Answer | None], dict[Place, list[str]]]:
    """The answers on every pair, None without enough probability on the labels; and the ledger's keys."""

    def read(question: Question, reply: Reply) -> Answer:
        return Answer(*checked(probabilities(reply.first_token, LABELS), min_mass))

    asked = places(texts, swap)
    questions = []
    for g, i, j in asked:
        shown = {"prompt": conversation(groups[g].messages), "a": texts[g][i], "b": texts[g][j]}
        questions.append(Question(template.filled(shown)))
    found = asker.ask(questions, read, _counted(step, groups, len(questions)))
    answers = dict(zip(asked, (f.value for f in found), strict=True))
    return answers, dict(zip(asked, (f.refs for f in found), strict=True))


def ask_lists(
    asker: Asker, form: Form, groups: Sequence[Group], texts: Sequence[Sequence[str]], min_mass: float, step: Step
) -> tuple[list[list[list[float] | None]], list[list[str]]]:
    """For each group and cyclic shift the probability of each text, None for a shift without an answer; and the keys.

    In shift k the text k of the sorted texts stands first. Groups with one text, or more than 26, are not asked about.
    """

    def read(question: Question, reply: Reply) -> list[float]:
        order: list[int] = question.about
        found = checked(probabilities(reply.first_token, LETTERS[: len(order)]), min_mass)
        mass = math.fsum(found)
        by_text = dict(zip(order, (p / mass for p in found), strict=True))
        return [by_text[i] for i in range(len(order))]

    questions: list[Question] = []
    owners: list[int] = []
    for g, unique in enumerate(texts):
        if not 2 <= len(unique) <= len(LETTERS):
            continue
        base = sorted(range(len(unique)), key=lambda k: unique[k])
        for k in range(len(base)):
            order = base[k:] + base[:k]
            items = [(f"answer {letter}", unique[i]) for letter, i in zip(LETTERS, order, strict=False)]
            asked = form.filled({"prompt": conversation(groups[g].messages)}, lists={"answers": items})
            questions.append(Question(asked, about=order))
            owners.append(g)
    found = asker.ask(questions, read, _counted(step, groups, len(questions)))
    out: list[list[list[float] | None]] = [[] for _ in groups]
    refs: list[list[str]] = [[] for _ in groups]
    for g, answer in zip(owners, found, strict=True):
        out[g].append(answer.value)
        refs[g] += answer.refs
    return out, refs


def _counted(step: Step, groups: Sequence[Group], questions: int) -> Step | None:
    """`step`, which counts responses, for so many questions."""
    responses = sum(len(g.candidates) for g in groups)
    if not questions:
        step(responses)
        return None
    return scaled(step, responses, questions)
