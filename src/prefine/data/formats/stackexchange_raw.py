"""Questions of Stack Exchange with their answers, as HTML, and the votes on each."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, answered, origin_key
from prefine.data.detect import Columns
from prefine.data.markdown import from_html
from prefine.data.messages import Dropped, list_of, text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("stackexchange_raw")
class StackExchangeRaw:
    """Stack Exchange preferences: HTML becomes Markdown; authors and addresses stay, as the license asks.

    Columns: qid, question (HTML), answers (list with answer_id, author, author_id, author_profile, pm_score, selected,
    text), date, metadata (addresses). Scores: pm_score, by which equal answers make no pair.
    Needs: the extra `data`.
    """

    rank = 70
    tells = "groups"
    columns = ("qid", "question", "answers", "metadata")
    license = "cc-by-sa-4.0"
    url = "https://huggingface.co/datasets/HuggingFaceH4/stack-exchange-preferences"

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
        return answered(group)
