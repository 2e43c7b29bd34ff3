"""The transcripts of hh-rlhf, where both sides repeat the whole dialogue."""

from __future__ import annotations

import re
from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, text_of, tidy
from prefine.registry import formats
from prefine.schema import Group, Message

MARK = "\n\nHuman:"
_TURN = re.compile(r"\n\n(Human|Assistant):")


@formats.register("hh_raw")
class HHRaw:
    r"""Anthropic hh-rlhf: transcripts "\n\nHuman: ...\n\nAssistant: ..." that share all turns but the last.

    Columns: chosen, rejected (text). Prompts that begin with the same user turn stay in one split.
    """

    rank = 120
    tells = "preferences"
    columns = ("chosen", "rejected")

    def matches(self, table: Columns) -> bool:
        return "prompt" not in table and all(
            table.has(side, "text") and table.share(side, MARK) > 0.9 for side in self.columns
        )

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        sides = [transcript(text_of(row.get(side), side), source) for side in ("chosen", "rejected")]
        return transcript_pair(sides[0], sides[1], row, self.columns, source)


def transcript(text: str, source: Source) -> list[Message]:
    """The turns of a transcript; only a marker after a blank line begins one, and turns of one speaker are merged."""
    marks = list(_TURN.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise Dropped("no_transcript", text[:50])
    ends = [m.start() for m in marks[1:]] + [len(text)]
    turns: list[Message] = [
        {"role": "user" if m[1] == "Human" else "assistant", "content": text[m.end() : end].strip()}
        for m, end in zip(marks, ends, strict=True)
    ]
    return tidy(turns, source.notes)


def transcript_pair(
    chosen: list[Message], rejected: list[Message], row: dict[str, Any], used: tuple[str, ...], source: Source
) -> Group:
    """The pair of two transcripts whose turns are equal up to the last."""
    for side in (chosen, rejected):
        if side[-1]["role"] != "assistant" or not side[-1]["content"]:
            raise Dropped("empty_response")
    if chosen[:-1] != rejected[:-1]:
        raise Dropped("context_differs")
    group = source.group(source.context(chosen[:-1]), row, used)
    source.prefer(group, chosen[-1:], rejected[-1:])
    return group
