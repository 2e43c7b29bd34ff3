"""MAPLE: translations by several systems, each scored by people."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score
from prefine.data.detect import Columns
from prefine.data.messages import text_of
from prefine.data.tasks import translation, translation_key
from prefine.registry import formats
from prefine.schema import Group


@formats.register("maple")
class MAPLE:
    """MAPLE: one translation per row; those of one source text become one group.

    Columns: source, translation, system, score, score_annotator_a, score_annotator_b; src_lang and tgt_lang, or
    language_pair, if there are any. Scores: quality, quality.annotator_a, quality.annotator_b.
    """

    rank = 174
    tells = "groups"
    columns = (
        "source",
        "translation",
        "system",
        "score",
        "score_annotator_a",
        "score_annotator_b",
        "src_lang",
        "tgt_lang",
        "language_pair",
    )
    license = "cc-by-nc-4.0"

    def matches(self, table: Columns) -> bool:
        return all(table.has(c, "text") for c in ("source", "translation")) and table.has("score", "number", "text")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        text = text_of(row.get("source"), "source")
        pair = text_of(row.get("language_pair") or "", "language_pair").replace("_", "-").partition("-")
        src = text_of(row.get("src_lang") or pair[0], "src_lang")
        tgt = text_of(row.get("tgt_lang") or pair[2], "tgt_lang")
        prompt = source.context(translation(text, src, tgt, source.plain_text))
        group = source.group(prompt, row, self.columns, task="translation", split_key=translation_key(text))
        group.task_meta |= {"source_text": text, **{k: v for k, v in (("src_lang", src), ("tgt_lang", tgt)) if v}}
        system = text_of(str(row.get("system") or ""), "system")
        candidate = source.candidate(group, source.response(row.get("translation"), "translation"), system)
        add_score(candidate, "quality", row.get("score"), source.notes, "human")
        for annotator in ("a", "b"):
            if row.get(f"score_annotator_{annotator}") is not None:
                value = row[f"score_annotator_{annotator}"]
                add_score(candidate, "quality", value, source.notes, "human", f"annotator_{annotator}")
        return group
