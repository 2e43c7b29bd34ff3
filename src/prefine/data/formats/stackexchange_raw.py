"""Questions of Stack Exchange with their answers, as HTML, and the votes on each."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from prefine.data.build import Source, add_score, answered, origin_key
from prefine.data.clean.base import order
from prefine.data.detect import Columns
from prefine.data.markdown import from_html
from prefine.data.messages import Dropped, list_of, text_of
from prefine.registry import formats
from prefine.schema import Comparison, Group


@formats.register("stackexchange_raw")
class StackExchangeRaw:
    """Stack Exchange preferences: HTML becomes Markdown; authors and addresses stay, as the license asks.

    Columns: qid, question (HTML), answers (list with answer_id, author, author_id, author_profile, pm_score, selected,
    text), date, metadata (addresses). Scores: pm_score. Answers with different votes are compared, by the judge
    human:votes with the difference as strength: at most `max_pairs` of a question, those with the smallest hash; equal
    votes are never a preference.
    Needs: the extra `data`.
    """

    rank = 70
    tells = "groups"
    columns = ("qid", "question", "answers", "metadata")
    license = "cc-by-sa-4.0"
    url = "https://huggingface.co/datasets/HuggingFaceH4/stack-exchange-preferences"

    def __init__(self, max_pairs: int | None = 10) -> None:
        if max_pairs is not None and max_pairs < 0:
            raise ValueError(f"max_pairs must be 0 or more, not {max_pairs}")
        self.max_pairs = max_pairs

    def matches(self, table: Columns) -> bool:
        voted = any("pm_score" in a for r in table.rows for a in r.get("answers") or [] if isinstance(a, dict))
        return table.has("question", "text") and table.has("answers", "dicts") and voted

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        question = from_html(text_of(row.get("question"), "question"))
        group = source.group(
            source.prompt(question), row, self.columns, split_key=origin_key("stackexchange", row.get("qid"))
        )
        addresses = [text_of(u, "metadata") for u in list_of(row.get("metadata"), "metadata") if isinstance(u, str)]
        if addresses:
            group.source["page"] = addresses[0]
        for answer in list_of(row.get("answers"), "answers"):
            if not isinstance(answer, dict):
                raise Dropped("bad_type_answers", type(answer).__name__)
            about = {"role": "human", **{k: answer.get(k) for k in ("author", "author_id", "author_profile")}}
            about |= {"answer_id": answer.get("answer_id"), "selected": answer.get("selected")}
            html = answer.get("text")
            made = source.one_of_many(
                group, from_html(html) if isinstance(html, str) else html, "text", str(answer.get("answer_id")), about
            )
            if made is not None:
                add_score(made, "pm_score", answer.get("pm_score"), source.notes, "human")
        group = answered(group)
        group.comparisons = self._compared(group)
        return group

    def _compared(self, group: Group) -> list[Comparison]:
        votes = {c.id: c.score("pm_score") for c in group.candidates}
        known = [(c.id, v) for c in group.candidates if (v := votes[c.id]) is not None]
        pairs = [(a, b, v - w) for (a, v), (b, w) in permutations(known, 2) if v > w]
        if self.max_pairs is not None:
            pairs = sorted(pairs, key=lambda p: order(0, group.id, p[0], p[1]))[: self.max_pairs]
        return [Comparison(a, b, "a", "human:votes", gap) for a, b, gap in pairs]
