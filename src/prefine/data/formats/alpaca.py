"""Instructions with an output."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, text_of
from prefine.registry import formats
from prefine.schema import Group, Message


@formats.register("alpaca")
class Alpaca:
    """Alpaca (SFT): an instruction with an optional input, and the output.

    Columns: instruction, output; input, system, history (list of [user, assistant]) if there are any.
    """

    rank = 230
    tells = "responses"
    columns = ("instruction", "input", "output", "system", "history")

    def matches(self, table: Columns) -> bool:
        return table.has("instruction", "text") and table.has("output", "text")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        messages: list[Message] = []
        if isinstance(row.get("system"), str) and row["system"].strip():
            messages.append({"role": "system", "content": text_of(row["system"], "system")})
        for turn in list_of(row.get("history"), "history"):
            if not isinstance(turn, (list, tuple)) or len(turn) != 2:
                raise Dropped("bad_type_history", repr(turn)[:50])
            messages.append({"role": "user", "content": text_of(turn[0], "history")})
            messages.append({"role": "assistant", "content": text_of(turn[1], "history")})
        question = text_of(row.get("instruction"), "instruction")
        extra = row.get("input")
        if isinstance(extra, str) and extra.strip():
            question = f"{question}\n{text_of(extra, 'input')}"
        messages.append({"role": "user", "content": question})
        group = source.group(source.context(messages), row, self.columns)
        source.candidate(group, source.response(row.get("output"), "output"))
        return group
