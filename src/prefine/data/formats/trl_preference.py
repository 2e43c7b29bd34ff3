"""Pairs in TRL's columns, with the prompt in a column of its own or repeated in both sides."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, shared_prefix, starts_with, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, text_of, to_messages
from prefine.registry import formats
from prefine.schema import Group, Message


@formats.register("trl_preference")
class TRLPreference:
    """Preference pairs: chosen and rejected, with an explicit prompt or one that both sides repeat as messages.

    Columns: prompt (text or messages; optional), chosen, rejected (text or messages), score_chosen, score_rejected.
    """

    rank = 200
    tells = "preferences"
    columns: tuple[str, ...] = (
        "prompt",
        "chosen",
        "rejected",
        "score_chosen",
        "score_rejected",
        "group_id",
        "chosen_id",
        "rejected_id",
    )

    def matches(self, table: Columns) -> bool:
        kinds = ("text", "message", "messages")
        if not all(table.has(side, *kinds) for side in ("chosen", "rejected")) or "conversations" in table:
            return False
        if "prompt" in table:
            return table.has("prompt", "text", "messages")
        return table.has("chosen", "messages") and table.has("rejected", "messages")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        prompt, chosen, rejected = self._parts(row, source)
        group = source.group(source.context(prompt), row, self.columns)
        values = [to_number(row.get(f"score_{side}"))[0] for side in ("chosen", "rejected")]
        if None not in values and values[0] == values[1]:
            raise Dropped("tied_scores")
        ids = row.get("chosen_id"), row.get("rejected_id")
        pair = source.judged(group, source.completion(chosen), source.completion(rejected), source.name, ids)
        for candidate, value in zip(pair, values, strict=True):
            if value is not None:
                add_score(candidate, "score", value, source.notes)
        return group

    def _parts(self, row: dict[str, Any], source: Source) -> tuple[list[Message], list[Message], list[Message]]:
        sides = [_side(row.get(side), side, source) for side in ("chosen", "rejected")]
        if "prompt" in row and row["prompt"] is None and not all(map(_is_dialogue, sides)):
            raise Dropped("missing_prompt")
        prompt = None if row.get("prompt") is None else to_messages(row["prompt"], "prompt", source.notes)
        if prompt is not None and all(starts_with(side, prompt) for side in sides):
            return prompt, sides[0][len(prompt) :], sides[1][len(prompt) :]
        if prompt is not None and not all(_is_dialogue(side) for side in sides):
            return prompt, sides[0], sides[1]
        n = shared_prefix(sides[0], sides[1])
        if not n or n in (len(sides[0]), len(sides[1])):
            raise Dropped("no_divergence", "chosen and rejected share no prompt, or one begins with the other")
        return sides[0][:n], sides[0][n:], sides[1][n:]


def _side(value: Any, name: str, source: Source) -> list[Message]:
    if isinstance(value, str):
        return [{"role": "assistant", "content": text_of(value, name)}]
    return to_messages(value, name, source.notes)


def _is_dialogue(side: list[Message]) -> bool:
    return bool(side) and side[0]["role"] in ("system", "user")
