"""ShareGPT conversations with two ways to go on."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.registry import formats
from prefine.schema import Group


@formats.register("sharegpt_pref")
class ShareGPTPref:
    """ShareGPT preferences: a conversation that ends with the user, and two responses to it.

    Columns: conversations (from, value), chosen, rejected (a message, messages or text).
    """

    rank = 180
    tells = "preferences"
    columns = ("conversations", "chosen", "rejected")

    def matches(self, table: Columns) -> bool:
        return table.has("conversations", "messages") and all(
            table.has(side, "message", "messages", "text") for side in ("chosen", "rejected")
        )

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("conversations"), "conversations"), row, self.columns)
        source.prefer(
            group, source.response(row.get("chosen"), "chosen"), source.response(row.get("rejected"), "rejected")
        )
        return group
