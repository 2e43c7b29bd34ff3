"""Self-Instruct's seed tasks: an instruction with several examples."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, map_of, text_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("self_instruct_seed")
class SelfInstructSeed:
    """Self-Instruct seed tasks (SFT): every instance of a task is a prompt with its output.

    Columns: id, name, instruction, instances (list of input, output), is_classification. All instances of a task stay
    in one split.
    Paper: Self-Instruct, Wang et al. 2023 (arXiv:2212.10560)
    """

    rank = 250
    tells = "responses"
    columns = ("id", "name", "instruction", "instances", "is_classification")

    def matches(self, table: Columns) -> bool:
        return table.has("instruction", "text") and table.has("instances", "dicts")

    def __call__(self, row: dict[str, Any], source: Source) -> list[Group]:
        instruction = text_of(row.get("instruction"), "instruction")
        groups = []
        for value in list_of(row.get("instances"), "instances"):
            item = map_of(value, "instances")
            extra = text_of(item.get("input") or "", "input")
            question = f"{instruction}\n{extra}" if extra.strip() else instruction
            group = source.group(source.prompt(question), row, self.columns, split_key=f"task:{instruction}")
            group.task_meta |= {k: text_of(str(row[k]), k) for k in ("name", "is_classification") if k in row}
            if source.one_of_many(group, item.get("output"), "output") is not None:
                groups.append(group)
        if not groups:
            raise Dropped("no_candidates")
        return groups
