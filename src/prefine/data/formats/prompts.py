"""Prompts, with one response or with none."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import to_messages
from prefine.registry import formats
from prefine.schema import Group


@formats.register("prompt_completion")
class PromptCompletion:
    """A prompt and its response (SFT).

    Columns: prompt (text or messages), completion or response (text, a message or messages).
    """

    rank = 260
    tells = "responses"
    columns = ("prompt", "completion", "response", "response_id", "group_id")

    def matches(self, table: Columns) -> bool:
        return table.has("prompt", "text", "messages") and any(
            table.has(name, "text", "message", "messages") for name in ("completion", "response")
        )

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        completion = row.get("completion") if row.get("completion") is not None else row.get("response")
        source.candidate(group, source.response(completion, "completion"), stored_id=row.get("response_id"))
        return group


@formats.register("prompt_only")
class PromptOnly:
    """Prompts without responses; generate writes them.

    Columns: prompt (text or messages); a final assistant turn is cut off.
    """

    rank = 270
    tells = "prompts"
    columns = ("prompt",)

    def matches(self, table: Columns) -> bool:
        return table.has("prompt", "text", "messages")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        messages = to_messages(row.get("prompt"), "prompt", source.notes)
        while messages and messages[-1]["role"] == "assistant":
            source.notes["trimmed_after_last_user"] += 1
            messages = messages[:-1]
        return source.group(source.context(messages), row, self.columns)
