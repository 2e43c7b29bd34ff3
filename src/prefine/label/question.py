"""The multiple-choice question that a teacher is asked, and what its answers come to. No model in here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefine.errors import PrefineError
from prefine.schema import Message

LABELS = ("A", "B", "None")
FLOOR = 1e-4
"""Smallest probability before the logarithm is taken."""

_SLOT = re.compile(r"\{(prompt|a|b)\}")
_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


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


class Template:
    """A question with the slots {prompt}, {a} and {b}, each of them once, filled in one go.

    What is filled in cannot open a section of its own: lines of it that begin like a line of the template are marked
    as quoted.
    """

    def __init__(self, text: str, where: str) -> None:
        self.pieces = _SLOT.split(text)
        slots = self.pieces[1::2]
        if sorted(slots) != ["a", "b", "prompt"]:
            raise PrefineError(
                f"{where}: a choice template has {{prompt}}, {{a}} and {{b}} once each, this has {slots}"
            )
        marks = {_mark(line) for literal in self.pieces[::2] for line in literal.splitlines()}
        self.marks = tuple(sorted(m for m in marks if m))

    def fill(self, prompt: str, a: str, b: str) -> str:
        """The question about responses `a` and `b`."""
        values = {"prompt": self._quoted(prompt), "a": self._quoted(a), "b": self._quoted(b)}
        return "".join(values[p] if i % 2 else p for i, p in enumerate(self.pieces))

    def _quoted(self, text: str) -> str:
        lines = text.splitlines()
        if not any(_mark(line).startswith(self.marks) for line in lines):
            return text
        return "\n".join("> " + line if _mark(line).startswith(self.marks) else line for line in lines)


def _mark(line: str) -> str:
    return " ".join(line.split()).casefold()


def load_template(template: str | None) -> Template:
    """The template of a file; None is the one that comes with prefine, `tiny_world` that of the embedded teacher."""
    if template is None:
        path = Path(__file__).parent / "prompts" / "choice.txt"
    elif template == "tiny_world":
        from prefine import tiny_world

        path = tiny_world.choice_prompt_path()
    else:
        path = Path(template)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PrefineError(f"choice: the template {path} cannot be read: {error.strerror}") from error
    return Template(text.strip("\n"), str(path))


def conversation(messages: Sequence[Message]) -> str:
    """A prompt as text: a single user turn by itself, anything longer as a transcript."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{_SPEAKER.get(m['role'], m['role'])}: {m['content']}" for m in messages)


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
