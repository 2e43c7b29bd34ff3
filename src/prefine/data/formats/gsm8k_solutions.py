"""A question with the solutions of several models, each marked right or wrong."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, to_bool
from prefine.data.detect import Columns
from prefine.data.messages import Dropped
from prefine.registry import formats
from prefine.schema import Group


@formats.register("gsm8k_solutions")
class GSM8KSolutions:
    """OpenAI grade-school-math model solutions: one column per model with {is_correct, solution}.

    Scorer `correct` gives 1 or 0. Equal solutions of two models stay two responses.
    """

    rank = 10
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
            try:
                completion = source.response(item["solution"], "solution")
            except Dropped as dropped:
                source.notes[f"responses_dropped_{dropped.reason}"] += 1
                continue
            candidate = source.candidate(group, completion, writer=model)
            add_score(candidate, "correct", to_bool(item["is_correct"]), source.notes)
        if not group.candidates:
            raise Dropped("no_candidates")
        return group


def _is_solution(value: Any) -> bool:
    return isinstance(value, dict) and "is_correct" in value and "solution" in value
