"""Questions with an answer, such as grade-school math."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import text_of
from prefine.registry import formats
from prefine.schema import Group

FINAL = "####"
"""What stands before the final result in answers of GSM8K."""


@formats.register("question_answer")
class QuestionAnswer:
    """Questions with one answer (SFT); what follows `####` in it is the final result, kept as task_meta reference.

    Columns: question, answer (text).
    """

    rank = 255
    tells = "responses"
    columns = ("question", "answer")

    def matches(self, table: Columns) -> bool:
        return all(table.has(c, "text") for c in self.columns)

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        answer = text_of(row.get("answer"), "answer")
        _, mark, result = answer.rpartition(FINAL)
        group = source.group(
            source.prompt(row.get("question"), "question"), row, self.columns, task="math" if mark else "chat"
        )
        group.task_meta.setdefault("reference", result.strip() if mark else answer.strip())
        source.candidate(group, source.response(answer, "answer"))
        return group
