"""Pairs in NeMo's columns."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score
from prefine.data.detect import Columns
from prefine.registry import formats
from prefine.schema import Group


@formats.register("nemo_dpo")
class NeMoDPO:
    """NeMo-Aligner's pairs.

    Columns: prompt, chosen_response, rejected_response (text or messages); chosen_reward, rejected_reward if there are
    any. Scores: reward.
    """

    rank = 210
    tells = "preferences"
    columns = ("prompt", "chosen_response", "rejected_response", "chosen_reward", "rejected_reward")

    def matches(self, table: Columns) -> bool:
        sides = all(table.has(f"{s}_response", "text", "message", "messages") for s in ("chosen", "rejected"))
        return sides and table.has("prompt", "text", "messages")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        sides = [source.response(row.get(f"{s}_response"), f"{s}_response") for s in ("chosen", "rejected")]
        pair = source.prefer(group, sides[0], sides[1])
        for candidate, side in zip(pair, ("chosen", "rejected"), strict=True):
            if row.get(f"{side}_reward") is not None:
                add_score(candidate, "reward", row[f"{side}_reward"], source.notes)
        return group
