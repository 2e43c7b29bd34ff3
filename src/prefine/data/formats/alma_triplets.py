"""ALMA-R's translations in threes: a reference and two models' translations, each with quality metrics."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from prefine.data.build import Source, add_score, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, map_of, text_of
from prefine.data.tasks import translation, translation_key
from prefine.registry import formats
from prefine.schema import Group

METRICS = ("kiwi", "xcomet")
WRITERS = ("ref", "alma", "gpt4")


@formats.register("alma_triplets")
class ALMATriplets:
    """ALMA-R preferences: per direction of a sentence pair, three translations with reference-free metrics.

    Columns: translation, an object with the texts by language (de, en), alma_LANGUAGE, gpt4_LANGUAGE, and the metrics
    WRITER_LANGUAGE_kiwi and WRITER_LANGUAGE_xcomet; required_directions limits the directions where it is not empty.
    Scores: quality (mean of both metrics), quality.kiwi, quality.xcomet. Differences below their noise mean nothing:
    pair with a min_gap. Both directions of a sentence pair stay in one split.
    Paper: CPO, Xu et al. 2024 (arXiv:2401.08417)
    """

    rank = 170
    tells = "groups"
    columns = ("translation",)

    def matches(self, table: Columns) -> bool:
        return table.has("translation", "dict") and any(
            key.startswith(("alma_", "gpt4_"))
            for r in table.rows
            if isinstance(r.get("translation"), dict)
            for key in r["translation"]
        )

    def __call__(self, row: dict[str, Any], source: Source) -> list[Group]:
        item = map_of(row.get("translation"), "translation")
        wanted = item.get("required_directions") or ""
        texts = {k: v for k, v in item.items() if f"alma_{k}" in item or f"gpt4_{k}" in item or _is_text(k, v)}
        if len(texts) != 2:
            raise Dropped("not_two_languages", ", ".join(texts)[:50])
        first, second = texts
        directions = [(a, b) for a, b in ((first, second), (second, first)) if not wanted or f"{a}-{b}" in wanted]
        found = [self._group(item, a, b, row, source) for a, b in directions]
        groups = [g for g in found if g is not None]
        if not groups:
            raise Dropped("no_candidates")
        return groups

    def _group(self, item: dict[str, Any], src: str, tgt: str, row: dict[str, Any], source: Source) -> Group | None:
        """One direction; None where no model translated in it."""
        if not any(isinstance(item.get(f"{w}_{tgt}"), str) for w in WRITERS[1:]):
            return None
        text = text_of(item.get(src), src)
        reference = text_of(item.get(tgt), tgt)
        prompt = source.context(translation(text, src, tgt, source.plain_text))
        group = source.group(prompt, row, self.columns, task="translation", split_key=translation_key(text, reference))
        group.task_meta |= {"src_lang": src, "tgt_lang": tgt, "source_text": text, "reference": reference}
        for writer in WRITERS:
            words = reference if writer == "ref" else item.get(f"{writer}_{tgt}")
            about = {"role": "reference"} if writer == "ref" else {"model": writer}
            made = source.one_of_many(group, words, writer, writer, about)
            values = [to_number(item.get(f"{writer}_{tgt}_{metric}"))[0] for metric in METRICS]
            if made is None:
                continue
            for metric, value in zip(METRICS, values, strict=True):
                add_score(made, "quality", value, source.notes, "metric", metric)
            known = [v for v in values if v is not None]
            add_score(made, "quality", fmean(known) if len(known) == len(values) else None, source.notes)
        return group if group.candidates else None


def _is_text(key: str, value: Any) -> bool:
    return isinstance(value, str) and "_" not in key and len(key) <= 3
