"""OpenAI's ratings of summaries by several aspects."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score
from prefine.data.detect import Columns
from prefine.data.formats.tldr_comparisons import summarized
from prefine.data.messages import map_of, text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("tldr_axis")
class TLDRAxis:
    """summarize_from_feedback, axis evaluations: one rated summary per row.

    Columns: info (id, post or article, title, subreddit), summary (text, policy, note, axes).
    Scores: human.overall, human.accuracy, human.coverage, human.coherence ...; an axis without a rating has none.
    """

    rank = 100
    tells = "groups"
    columns = ("info", "summary", "worker", "batch", "split")
    url = "https://huggingface.co/datasets/openai/summarize_from_feedback"

    def matches(self, table: Columns) -> bool:
        return table.has("info", "dict") and any(
            isinstance(r.get("summary"), dict) and "axes" in r["summary"] for r in table.rows
        )

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = summarized(row, self.columns, source)
        summary = map_of(row.get("summary"), "summary")
        policy = text_of(str(summary.get("policy") or ""), "policy")
        candidate = source.candidate(group, source.response(summary.get("text"), "summary"), policy)
        for axis, value in map_of(summary.get("axes"), "axes").items():
            add_score(candidate, "human", value, source.notes, "human", axis)
        return group
