"""Sentences with their translation by a person."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, map_of, text_of
from prefine.data.tasks import translation, translation_key
from prefine.registry import formats
from prefine.schema import Group


@formats.register("alma_parallel")
class ALMAParallel:
    """Parallel text (SFT): the first language of the object is translated to the second.

    Columns: translation, an object with two texts by language (de, en). `both_directions` adds the way back; both stay
    in one split.
    """

    rank = 172
    tells = "responses"
    columns = ("translation",)

    def __init__(self, both_directions: bool = False) -> None:
        self.both_directions = both_directions

    def matches(self, table: Columns) -> bool:
        return table.has("translation", "dict") and all(
            len(r["translation"]) == 2 for r in table.rows if isinstance(r.get("translation"), dict)
        )

    def __call__(self, row: dict[str, Any], source: Source) -> list[Group]:
        item = map_of(row.get("translation"), "translation")
        if len(item) != 2:
            raise Dropped("not_two_languages", ", ".join(item)[:50])
        first, second = item
        directions = [(first, second), (second, first)][: 1 + self.both_directions]
        return [self._group(item, a, b, row, source) for a, b in directions]

    def _group(self, item: dict[str, Any], src: str, tgt: str, row: dict[str, Any], source: Source) -> Group:
        text, reference = text_of(item[src], src), text_of(item[tgt], tgt)
        prompt = source.context(translation(text, src, tgt, source.plain_text))
        key = translation_key(text, reference)
        group = source.group(prompt, row, self.columns, task="translation", split_key=key)
        group.task_meta |= {"src_lang": src, "tgt_lang": tgt, "source_text": text, "reference": reference}
        source.candidate(group, source.response(reference, tgt), "reference", {"role": "reference"})
        return group
