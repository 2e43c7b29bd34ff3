"""Questions of Stack Exchange with a better and a worse answer."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, origin_key
from prefine.data.detect import Columns
from prefine.registry import formats
from prefine.schema import Group


@formats.register("stackexchange_paired")
class StackExchangePaired:
    """Stack Exchange in pairs: the answer in `response_j` has more votes than that in `response_k`.

    Columns: question, response_j, response_k; qid if there is one.
    """

    rank = 80
    tells = "preferences"
    columns = ("qid", "question", "response_j", "response_k")
    license = "cc-by-sa-4.0"

    def matches(self, table: Columns) -> bool:
        return all(table.has(c, "text") for c in self.columns[1:])

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(
            source.prompt(row.get("question"), "question"),
            row,
            self.columns,
            split_key=origin_key("stackexchange", row.get("qid")),
        )
        sides = [source.response(row.get(name), name) for name in ("response_j", "response_k")]
        source.judged(group, sides[0], sides[1], "human:votes")
        return group
