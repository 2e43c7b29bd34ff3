"""BeaverTails: single answers, each safe or not, with fourteen categories of harm."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, to_bool
from prefine.data.detect import Columns
from prefine.data.harms import add_safety
from prefine.data.messages import text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("beavertails")
class BeaverTails:
    """BeaverTails: answers to one question become one group, labeled `is_safe`.

    Columns: prompt, response, category (one boolean per kind of harm), is_safe.
    Scores: human.safe, human.no_CATEGORY (1 where the harm is absent). Pairs by human.safe prefer the safe answer,
    which is an objective of its own and no judgement of helpfulness.
    """

    rank = 40
    tells = "groups"
    columns = ("prompt", "response", "category", "is_safe")
    license = "cc-by-nc-4.0"
    url = "https://huggingface.co/datasets/PKU-Alignment/BeaverTails"

    def matches(self, table: Columns) -> bool:
        texts = table.has("prompt", "text") and table.has("response", "text")
        return texts and table.has("category", "dict") and table.has("is_safe", "bool", "number", "text")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        to_bool(row.get("is_safe"))
        group = source.group(source.prompt(text_of(row.get("prompt"), "prompt").strip()), row, self.columns)
        candidate = source.candidate(group, source.response(row.get("response"), "response"))
        add_safety(candidate, row.get("is_safe"), row.get("category"), source.notes)
        return group
