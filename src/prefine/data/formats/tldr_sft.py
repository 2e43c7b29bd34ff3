"""Reddit posts with the summaries that their authors wrote."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, origin_key
from prefine.data.detect import Columns
from prefine.data.messages import text_of
from prefine.data.tasks import summary_of_post
from prefine.registry import formats
from prefine.schema import Group


@formats.register("tldr_sft")
class TLDRSFT:
    """TL;DR (SFT): a post and its author's summary.

    Columns: id, subreddit, title, post, summary (text).
    """

    rank = 110
    tells = "responses"
    columns = ("id", "subreddit", "title", "post", "summary")

    def matches(self, table: Columns) -> bool:
        return all(table.has(c, "text") for c in ("post", "summary", "subreddit"))

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        parts = [text_of(row.get(k) or "", k) for k in ("post", "title", "subreddit")]
        group = source.group(
            source.context(summary_of_post(*parts, plain_text=source.plain_text)),
            row,
            self.columns,
            task="summarization",
            split_key=origin_key("tldr", row.get("id")),
        )
        group.task_meta |= {"domain": "reddit", "subreddit": parts[2]}
        source.candidate(group, source.response(row.get("summary"), "summary"), about={"role": "human"})
        return group
