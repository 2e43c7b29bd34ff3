"""Whole conversations for supervised fine-tuning."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import split_last, to_messages
from prefine.registry import formats
from prefine.schema import Group


@formats.register("messages")
class Messages:
    """Conversations (SFT): the last assistant turn is the response.

    Columns: messages (role, content).
    """

    rank = 220
    tells = "responses"
    columns: tuple[str, ...] = ("messages",)

    def matches(self, table: Columns) -> bool:
        return table.has(self.columns[0], "messages")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        name = self.columns[0]
        context, last = split_last(to_messages(row.get(name), name, source.notes), source.notes)
        group = source.group(source.context(context), row, self.columns)
        source.candidate(group, source.completion(last))
        return group


@formats.register("sharegpt")
class ShareGPT(Messages):
    """ShareGPT conversations (SFT): the last turn of the model is the response.

    Columns: conversations (from, value).
    """

    rank = 225
    columns = ("conversations",)
