"""Pairs in the columns of UltraFeedback binarized, which the alignment handbook and its successors use."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, split_last, to_messages
from prefine.registry import formats
from prefine.schema import Group


@formats.register("ultrafeedback_binarized")
class UltraFeedbackBinarized:
    """Pairs whose sides are whole conversations, with the score of each side; tied scores are no preference.

    Columns: prompt (text), prompt_id, chosen, rejected (messages), messages, score_chosen, score_rejected.
    Scores: overall.
    """

    rank = 30
    tells = "preferences"
    columns = ("prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected")

    def matches(self, table: Columns) -> bool:
        sides = table.has("chosen", "messages") and table.has("rejected", "messages")
        return sides and table.has("prompt_id", "text") and table.has("prompt", "text") and "score_chosen" in table

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        whole = [to_messages(row.get(side), side, source.notes) for side in ("chosen", "rejected")]
        sides = [split_last(messages, source.notes) for messages in whole]
        if sides[0][0] != sides[1][0]:
            raise Dropped("context_differs")
        scores = [to_number(row.get(f"score_{side}"))[0] for side in ("chosen", "rejected")]
        if scores[0] is not None and scores[0] == scores[1]:
            raise Dropped("tied_scores")
        group = source.group(source.context(sides[0][0]), row, self.columns)
        pair = source.prefer(group, source.completion(sides[0][1]), source.completion(sides[1][1]))
        for candidate, score in zip(pair, scores, strict=True):
            if score is not None:
                add_score(candidate, "overall", score, source.notes, "judge_single")
        return group
