"""AlpacaEval's annotations: two models' outputs, and how much a judge prefers the second."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, must_differ, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, text_of
from prefine.registry import formats
from prefine.schema import Comparison, Group


@formats.register("alpacaeval_annotations")
class AlpacaEvalAnnotations:
    """AlpacaEval annotations: a comparison of output_2 with output_1 whose strength is P(output_2) = preference - 1.

    Columns: instruction, output_1, generator_1, output_2, generator_2, annotator, preference (1 to 2; 1.5 is a tie).
    """

    rank = 228
    tells = "preferences"
    columns = ("instruction", "output_1", "generator_1", "output_2", "generator_2", "annotator", "preference")

    def matches(self, table: Columns) -> bool:
        texts = all(table.has(c, "text") for c in ("instruction", "output_1", "output_2"))
        return texts and table.has("preference", "number", "text")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        preference = to_number(row.get("preference"))[0]
        if preference is None or not 1 <= preference <= 2:
            raise Dropped("no_preference", repr(row.get("preference"))[:50])
        group = source.group(source.prompt(row.get("instruction"), "instruction"), row, self.columns)
        texts = [source.response(row.get(f"output_{i}"), f"output_{i}") for i in (1, 2)]
        must_differ(texts[0], texts[1])
        writers = [text_of(str(row.get(f"generator_{i}") or ""), "generator") for i in (1, 2)]
        first, second = (source.candidate(group, t, w) for t, w in zip(texts, writers, strict=True))
        strength = preference - 1
        outcome = "tie" if strength == 0.5 else "a" if strength > 0.5 else "b"
        judge = text_of(str(row.get("annotator") or source.name), "annotator")
        group.comparisons.append(Comparison(second.id, first.id, outcome, judge, strength))
        return group
