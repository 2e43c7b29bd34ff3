"""The transcripts of hh-rlhf with the dialogue in a column of its own."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.formats.hh_raw import MARK, transcript, transcript_pair
from prefine.data.messages import text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("hh_prompt")
class HHPrompt:
    r"""hh-rlhf with a prompt column: a transcript that ends in "\n\nAssistant:", and two responses.

    Columns: prompt, chosen, rejected (text). Prompts that begin with the same user turn stay in one split.
    """

    rank = 125
    tells = "preferences"
    columns = ("prompt", "chosen", "rejected")

    def matches(self, table: Columns) -> bool:
        return all(table.has(c, "text") for c in self.columns) and table.share("prompt", MARK) > 0.9

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        prompt = text_of(row.get("prompt"), "prompt").rstrip()
        if not prompt.endswith("\n\nAssistant:"):
            prompt += "\n\nAssistant:"
        sides = [transcript(prompt + text_of(row.get(side), side), source) for side in ("chosen", "rejected")]
        return transcript_pair(sides[0], sides[1], row, self.columns, source)
