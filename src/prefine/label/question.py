"""The multiple-choice question that a teacher is asked, and what its answers come to. No model in here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from prefine.label.templates import PROMPTS, Form, conversation, read_template

__all__ = ["LABELS", "Answer", "Template", "conversation", "load_template", "log_score", "selection"]

LABELS = ("A", "B", "None")
FLOOR = 1e-4
"""Smallest probability before the logarithm is taken."""


@dataclass(frozen=True)
class Answer:
    """What the teacher gave for one order: probabilities of the first response, the second, and neither."""

    first: float
    second: float
    none: float

    @property
    def mass(self) -> float:
        """The probability of answering at all."""
        return self.first + self.second + self.none


class Template(Form):
    """A question with the slots {prompt}, {a} and {b}, each of them once."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text, where, ("prompt", "a", "b"))

    def fill(self, prompt: str, a: str, b: str) -> str:
        """The question about responses `a` and `b`."""
        return self.filled({"prompt": prompt, "a": a, "b": b}).text


def load_template(template: str | None) -> Template:
    """The template of a file; None is the one that comes with prefine, `tiny_world` that of the embedded teacher."""
    if template == "tiny_world":
        from prefine import tiny_world

        path = tiny_world.choice_prompt_path()
    else:
        path = PROMPTS / "choice.txt" if template is None else Path(template)
    return Template(read_template(path), str(path))


def selection(n: int, answers: dict[tuple[int, int], Answer | None]) -> list[float | None]:
    """p_i, the mean over the other responses j of the probability of choosing i against j, orders averaged.

    `answers[i, j]` is the answer with i shown first; an order that was not asked is absent, one without a usable answer
    is None. p_i is None as soon as one of its pairings has no usable answer. Objectives of PAD, step 4.
    """
    out: list[float | None] = []
    for i in range(n):
        wins = [_win(answers, i, j) for j in range(n) if j != i]
        known = [w for w in wins if w is not None]
        out.append(math.fsum(known) / len(known) if known and len(known) == len(wins) else None)
    return out


def _win(answers: dict[tuple[int, int], Answer | None], i: int, j: int) -> float | None:
    found: list[float] = []
    for order in ((i, j), (j, i)):
        if order in answers:
            answer = answers[order]
            if answer is None:
                return None
            found.append(answer.first if order[0] == i else answer.second)
    return sum(found) / len(found) if found else None


def log_score(p: float) -> float:
    """ln p, with p at least `FLOOR`."""
    return math.log(max(p, FLOOR))
