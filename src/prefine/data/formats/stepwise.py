"""Solutions in steps, each step right or wrong."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, to_bool
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("stepwise")
class Stepwise:
    """TRL's stepwise supervision: the steps become one response, with the labels step_01, step_02 and so on.

    Columns: prompt, completions (list of text), labels (list of booleans, one per step).
    """

    rank = 195
    tells = "preferences"
    columns = ("prompt", "completions", "labels")

    def matches(self, table: Columns) -> bool:
        steps = table.has("completions", "texts") and table.has("labels", "numbers")
        return steps and table.has("prompt", "text", "messages")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        steps = [text_of(s, "completions") for s in list_of(row.get("completions"), "completions")]
        labels = [to_bool(v) for v in list_of(row.get("labels"), "labels")]
        if len(steps) != len(labels):
            raise Dropped("labels_do_not_fit_steps", f"{len(labels)} for {len(steps)}")
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        candidate = source.candidate(group, source.response("\n".join(steps), "completions"))
        candidate.labels |= {f"step_{i:02d}": label for i, label in enumerate(labels, 1)}
        return group
