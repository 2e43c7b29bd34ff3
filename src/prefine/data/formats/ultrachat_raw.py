"""UltraChat as published: a conversation as a list of texts."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, split_last, text_of
from prefine.registry import formats
from prefine.schema import Group, Message


@formats.register("ultrachat_raw")
class UltraChatRaw:
    """UltraChat (SFT): user and assistant take turns, the user begins; the last answer is the response.

    Columns: id, data (list of text).
    """

    rank = 240
    tells = "responses"
    columns = ("id", "data")

    def matches(self, table: Columns) -> bool:
        return table.has("data", "texts")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        turns: list[Message] = [
            {"role": ("user", "assistant")[i % 2], "content": text_of(text, "data")}
            for i, text in enumerate(list_of(row.get("data"), "data"))
        ]
        if any(not turn["content"].strip() for turn in turns[:-1]):
            raise Dropped("empty_turn")
        context, last = split_last(turns, source.notes)
        group = source.group(source.context(context), row, self.columns)
        source.candidate(group, source.completion(last))
        return group
