"""OpenAI's comparisons of summaries: two summaries of a post or an article, and which one a worker chose."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, must_differ, origin_key, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, map_of, text_of
from prefine.data.tasks import summary_of_article, summary_of_post
from prefine.registry import formats
from prefine.schema import Comparison, Group, Message


@formats.register("tldr_comparisons")
class TLDRComparisons:
    """summarize_from_feedback, comparisons: one judgement per worker, its confidence is the strength.

    Columns: info (id, post or article, title, subreddit), summaries (two of text, policy, note), choice (0 or 1),
    worker, batch, extra (confidence). Reddit posts and news articles (no post) have the task_meta `domain`.
    """

    rank = 90
    tells = "preferences"
    columns = ("info", "summaries", "choice", "worker", "batch", "extra", "split")
    url = "https://huggingface.co/datasets/openai/summarize_from_feedback"

    def matches(self, table: Columns) -> bool:
        shown = table.has("info", "dict") and table.has("summaries", "dicts")
        return shown and table.has("choice", "number", "text")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = summarized(row, self.columns, source)
        items = [map_of(item, "summaries") for item in list_of(row.get("summaries"), "summaries")]
        choice = to_number(row.get("choice"))[0]
        if len(items) != 2 or choice not in (0, 1):
            raise Dropped("bad_choice", f"{row.get('choice')!r} among {len(items)} summaries"[:60])
        texts = [source.response(item.get("text"), "summaries") for item in items]
        must_differ(texts[0], texts[1])
        sides = [
            source.candidate(group, text, text_of(str(item.get("policy") or ""), "policy"))
            for item, text in zip(items, texts, strict=True)
        ]
        confidence = to_number(map_of(row.get("extra"), "extra").get("confidence"))[0]
        judge = "human:" + text_of(str(row.get("worker") or "worker"), "worker")
        group.comparisons.append(
            Comparison(sides[0].id, sides[1].id, "b" if choice else "a", judge, confidence),
        )
        return group


def summarized(row: dict[str, Any], used: tuple[str, ...], source: Source) -> Group:
    """The group of what a row's `info` holds: a post, or a news article where there is no post."""
    info = map_of(row.get("info"), "info")
    news = not (isinstance(info.get("post"), str) and info["post"].strip())
    prompt: list[Message]
    if news:
        prompt = summary_of_article(text_of(info.get("article"), "article"), source.plain_text)
    else:
        parts = [text_of(info.get(k) or "", k) for k in ("post", "title", "subreddit")]
        prompt = summary_of_post(*parts, plain_text=source.plain_text)
    group = source.group(
        source.context(prompt), row, used, task="summarization", split_key=origin_key("tldr", info.get("id"))
    )
    group.task_meta["domain"] = "news" if news else "reddit"
    if isinstance(info.get("subreddit"), str):
        group.task_meta["subreddit"] = text_of(info["subreddit"], "subreddit")
    return group
