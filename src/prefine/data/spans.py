"""Where a revision differs from its original: an edit alignment over tokens, in whole words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prefine.data.clean.text import NO_SPACES
from prefine.data.tokens import Tokens, codec

_INSIDE = re.compile(rf"(?<=[^\W{NO_SPACES}])(?=[^\W{NO_SPACES}])")
"""A place within a word; in scripts without spaces there is none, since each sign is a word."""


@dataclass(frozen=True)
class Weights:
    """What the tokens of an edit weigh: `reward` in the revision, minus `penalty` in the original, `equal` in both.

    The defaults are those of FIGA's code (arXiv:2311.04072).
    """

    reward: float = 1.0
    penalty: float = 0.5
    equal: float = 0.0


@dataclass(frozen=True)
class Op:
    """One step of the alignment: `equal`, `insert`, `delete` or `replace`, with its characters in both texts.

    The ranges of all steps follow each other without a gap in both texts; an inserted range is empty in the original,
    a deleted one in the revision. Every range begins and ends between two tokens.
    """

    op: str
    initial: tuple[int, int]
    revised: tuple[int, int]

    def row(self, weights: Weights) -> dict[str, Any]:
        """The step in flat columns, with the weight of its tokens on either side."""
        same = self.op == "equal"
        return {
            "op": self.op,
            "initial_start": self.initial[0],
            "initial_end": self.initial[1],
            "revised_start": self.revised[0],
            "revised_end": self.revised[1],
            "initial_weight": weights.equal if same else -weights.penalty,
            "revised_weight": weights.equal if same else weights.reward,
        }


def edits(initial: str, revised: str, tokenizer: Any) -> list[Op]:
    """The steps that lead from one text to the other, over the tokenizer's tokens joined to whole words.

    A token that ends within a word is one unit with the next; units are equal if their tokens are. The alignment is
    `difflib`'s, the longest common run first.
    """
    coder = codec(tokenizer)
    sides = [(text, coder.encode_guarded(text, coder.neutral(text))) for text in (initial, revised)]
    (a, a_ends), (b, b_ends) = (_units(text, tokens) for text, tokens in sides)
    found = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [Op(op, (a_ends[i], a_ends[j]), (b_ends[k], b_ends[m])) for op, i, j, k, m in found]


def _units(text: str, tokens: Tokens) -> tuple[list[tuple[int, ...]], list[int]]:
    """The words' token ids, and the characters between which the words stand, from 0 to the text's length."""
    inside = {m.start() for m in _INSIDE.finditer(text)}
    units, ends = [], [0]
    for ids, end in _joined(tokens, inside):
        units.append(ids)
        ends.append(end)
    ends[-1] = len(text) if units else 0
    return units, ends


def _joined(tokens: Tokens, inside: set[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Token ids up to each place where a word may end: not within a word, nor within a character's bytes."""
    held: list[int] = []
    for i, token in enumerate(tokens.ids):
        held.append(token)
        end, following = tokens.ends[i], _next_start(tokens.starts, i)
        if following is None or (following >= end and end not in inside):
            yield tuple(held), end
            held = []


def _next_start(starts: Sequence[int], i: int) -> int | None:
    return starts[i + 1] if i + 1 < len(starts) else None
