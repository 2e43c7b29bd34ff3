"""A question with the solutions of several models, each marked right or wrong."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, answered, to_bool
from prefine.data.detect import Columns
from prefine.registry import formats
from prefine.schema import Group


@formats.register("gsm8k_solutions")
class GSM8KSolutions:
    """OpenAI grade-school-math model solutions: one column per model with {is_correct, solution}.

    Scorer `correct` gives 1 or 0, and so does the label `is_correct`. Equal solutions of two models stay two responses.
    """

    rank = 115
    tells = "groups"
    columns = ("question",)

    def matches(self, table: Columns) -> bool:
        return table.has("question", "text") and any(
            kinds["dict"] and any(_is_solution(r.get(name)) for r in table.rows) for name, kinds in table.kinds.items()
        )

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("question"), "question"), row, self.columns, task="math")
        if "ground_truth" in group.task_meta:
            group.task_meta["reference"] = group.task_meta.pop("ground_truth")
        for model, item in row.items():
            if not _is_solution(item):
                continue
            right = to_bool(item["is_correct"])
            candidate = source.one_of_many(group, item["solution"], "solution", model)
            if candidate is not None:
                candidate.labels["is_correct"] = right
                add_score(candidate, "correct", right, source.notes)
        return answered(group)


def _is_solution(value: Any) -> bool:
    return isinstance(value, dict) and "is_correct" in value and "solution" in value
