"""Responses with a teacher's scores, as the authors of PAD store them."""

from __future__ import annotations

from typing import ClassVar

from prefine.data.detect import Columns
from prefine.data.formats.listwise import Listwise
from prefine.registry import formats


@formats.register("pad_scored")
class PADScored(Listwise):
    """PAD's scored responses: one list of numbers per kind of score, as long as the list of responses.

    Columns: prompt, responses, and any of scores_mcq, scores_logp, scores_avglogp (each also with an ending such as
    _ref or _repr, of other models). Scores: mcq, logp, avglogp and so on (log-probs).
    Paper: Preference-Aligned Distillation, arXiv:2502.14272
    """

    rank = 140
    kinds: ClassVar[dict[str, str]] = {"mcq": "mcq", "avglogp": "avg_logp", "logp": "sum_logp"}

    def matches(self, table: Columns) -> bool:
        return super().matches(table) and any(table.has(f"scores_{kind}", "numbers", "empty") for kind in self.kinds)
