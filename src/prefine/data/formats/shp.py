"""Stanford Human Preferences: comments under a Reddit post, compared by their votes."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, must_differ, origin_key, to_bool, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped
from prefine.registry import formats
from prefine.schema import Comparison, Group


@formats.register("shp")
class SHP:
    """SHP: the comments of a post are the responses, each once; a comparison's strength is the ratio of the votes.

    Columns: post_id, history, human_ref_A, human_ref_B, labels (1: A is preferred), c_root_id_A, c_root_id_B, score_A,
    score_B, score_ratio. Scores: votes. `min_score_ratio` drops weaker comparisons (2 is usual).
    """

    rank = 60
    tells = "preferences"
    columns = (
        "history",
        "human_ref_A",
        "human_ref_B",
        "labels",
        "c_root_id_A",
        "c_root_id_B",
        "created_at_utc_A",
        "created_at_utc_B",
        "score_A",
        "score_B",
        "score_ratio",
        "seconds_difference",
    )
    url = "https://huggingface.co/datasets/stanfordnlp/SHP"

    def __init__(self, min_score_ratio: float = 1.0) -> None:
        if min_score_ratio < 1:
            raise ValueError(f"min_score_ratio is a ratio of at least 1, not {min_score_ratio}")
        self.min_score_ratio = min_score_ratio

    def matches(self, table: Columns) -> bool:
        texts = all(table.has(c, "text") for c in ("history", "human_ref_A", "human_ref_B"))
        return texts and table.has("labels", "number", "bool", "text")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        ratio = to_number(row.get("score_ratio"))[0]
        if ratio is not None and ratio < self.min_score_ratio:
            raise Dropped("below_min_score_ratio")
        group = source.group(
            source.prompt(row.get("history"), "history"),
            row,
            self.columns,
            split_key=origin_key("shp", row.get("post_id")),
        )
        texts = [source.response(row.get(f"human_ref_{side}"), f"human_ref_{side}") for side in "AB"]
        must_differ(texts[0], texts[1])
        sides = []
        for side, text in zip("AB", texts, strict=True):
            comment = origin_key("comment", row.get(f"c_root_id_{side}"))
            made = source.candidate(group, text, comment, {"role": "human", "comment": row.get(f"c_root_id_{side}")})
            add_score(made, "votes", row.get(f"score_{side}"), source.notes, "human")
            sides.append(made)
        outcome = "a" if to_bool(row.get("labels")) else "b"
        group.comparisons.append(Comparison(sides[0].id, sides[1].id, outcome, "human:votes", ratio))
        return group
