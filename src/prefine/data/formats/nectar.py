"""Nectar: seven ranked answers to one prompt."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, answered, to_number
from prefine.data.detect import Columns
from prefine.data.formats.hh_raw import MARK, transcript
from prefine.data.messages import Dropped, list_of, text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("nectar")
class Nectar:
    r"""Nectar: a prompt as a transcript "\n\nHuman: ...\n\nAssistant:", and answers by rank.

    Columns: prompt, answers (list of answer, model, rank). Scores: rank (minus the rank, so that higher is better).
    """

    rank = 130
    tells = "groups"
    columns = ("prompt", "answers", "num_responses", "turns")
    url = "https://huggingface.co/datasets/berkeley-nest/Nectar"

    def matches(self, table: Columns) -> bool:
        ranked = any("rank" in a for r in table.rows for a in r.get("answers") or [] if isinstance(a, dict))
        return table.has("prompt", "text") and table.has("answers", "dicts") and ranked

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        text = text_of(row.get("prompt"), "prompt")
        turns = source.prompt(text)
        if MARK in text:
            turns = transcript(text.rstrip().removesuffix("\n\nAssistant:"), source)
        group = source.group(source.context(turns), row, self.columns)
        for item in list_of(row.get("answers"), "answers"):
            if not isinstance(item, dict):
                raise Dropped("bad_type_answers", type(item).__name__)
            made = source.one_of_many(group, item.get("answer"), "answer", text_of(item.get("model") or "", "model"))
            place = to_number(item.get("rank"))[0]
            if made is not None:
                add_score(made, "rank", None if place is None else -place, source.notes, "judge_single")
        return answered(group)
