"""Responses by themselves, each wanted or not."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, to_bool
from prefine.data.detect import Columns
from prefine.data.messages import split_last, to_messages
from prefine.registry import formats
from prefine.schema import Group


@formats.register("kto")
class KTO:
    """Unpaired responses with a label (KTO): true means desirable.

    Columns: messages, label; or prompt, completion (or response), label.
    """

    rank = 190
    tells = "preferences"
    columns = ("messages", "conversations", "prompt", "completion", "response", "label", "response_id", "group_id")

    def matches(self, table: Columns) -> bool:
        labeled = table.has("label", "bool", "number", "text")
        whole = any(table.has(name, "messages") for name in ("messages", "conversations"))
        return labeled and (whole or _has_response(table))

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        label = to_bool(row.get("label"))
        name = next((n for n in ("messages", "conversations") if row.get(n) is not None), None)
        if name:
            context, last = split_last(to_messages(row[name], name, source.notes), source.notes)
            messages, completion = source.context(context), source.completion(last)
        else:
            messages = source.prompt(row.get("prompt"))
            completion = source.response(row.get("completion", row.get("response")), "completion")
        group = source.group(messages, row, self.columns)
        source.candidate(group, completion, stored_id=row.get("response_id")).labels["desirable"] = label
        return group


def _has_response(table: Columns) -> bool:
    return table.has("prompt", "text", "messages") and any(
        table.has(name, "text", "message", "messages") for name in ("completion", "response")
    )
