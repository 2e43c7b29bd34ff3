"""UltraChat 200k: conversations with the first turn repeated as the prompt."""

from __future__ import annotations

from prefine.data.detect import Columns
from prefine.data.formats.conversation import Messages
from prefine.registry import formats


@formats.register("ultrachat_200k")
class UltraChat200k(Messages):
    """UltraChat 200k (SFT): the last assistant turn is the response.

    Columns: messages (role, content); prompt and prompt_id are not read.
    """

    rank = 215
    columns = ("messages", "prompt", "prompt_id")

    def matches(self, table: Columns) -> bool:
        return super().matches(table) and table.has("prompt", "text") and table.has("prompt_id", "text")
