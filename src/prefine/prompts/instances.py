"""Cases of a task: is it one of choosing a label? Then labels first, so that they are balanced; else inputs first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefine.data.clean.text import normal
from prefine.engines.base import Reply
from prefine.engines.replies import json_items, yes_or_no
from prefine.engines.texts import load_text

TEXTS = Path(__file__).parent / "texts"

Ask = Callable[[str, Sequence[str], Sequence[str], Callable[[Reply], Any]], list[Any]]
"""Asks the same of many tasks: purpose, messages and tags in, what could be read out of each reply, or None."""


@dataclass(frozen=True)
class Case:
    """What a task is to be done on, and the answer."""

    input: str
    output: str


class Cases:
    """Writes cases of tasks."""

    def __init__(
        self,
        count: int,
        language: str,
        classify: str | None = None,
        by_input: str | None = None,
        by_label: str | None = None,
    ) -> None:
        self.count, self.language = count, language
        self.classify = load_text(classify, TEXTS / "classify.txt", ["task"])
        slots = ["task"], ["count", "language"]
        self.by_input = load_text(by_input, TEXTS / "instances.txt", *slots)
        self.by_label = load_text(by_label, TEXTS / "instances_by_label.txt", *slots)

    @property
    def versions(self) -> dict[str, str]:
        return {
            "classify": self.classify.version,
            "instances": self.by_input.version,
            "instances_by_label": self.by_label.version,
        }

    def write(self, tasks: Sequence[str], ask: Ask, rejected: Counter[str]) -> list[list[Case]]:
        """The cases of each task, perhaps none. `rejected` counts the cases that are no good, by reason."""
        asked = [self.classify.fill(task=task) for task in tasks]
        labeled = ask("classify", asked, tasks, lambda reply: yes_or_no(reply.text))
        texts = [
            (self.by_label if chosen else self.by_input).fill(task=t, count=str(self.count), language=self.language)
            for t, chosen in zip(tasks, labeled, strict=True)
        ]
        found = ask("instances", texts, tasks, lambda reply: json_items(reply.text))
        return [good_cases(items or [], self.count, rejected) for items in found]


def good_cases(items: Sequence[Any], count: int, rejected: Counter[str]) -> list[Case]:
    """The items that are cases, without those that say nothing or contradict each other; the first `count`."""
    cases = []
    for item in items:
        case = _case(item)
        reason = "not_a_case" if case is None else _fault(case)
        if case is None or reason is not None:
            rejected[f"case_{reason}"] += 1
        else:
            cases.append(case)
    outputs: dict[str, set[str]] = {}
    for case in cases:
        outputs.setdefault(normal(case.input), set()).add(normal(case.output))
    kept: dict[str, Case] = {}
    for case in cases:
        name = normal(case.input)
        if len(outputs[name]) > 1 or name in kept or len(kept) == count:
            contradicts = len(outputs[name]) > 1
            rejected["case_contradicts" if contradicts else "case_repeated" if name in kept else "case_beyond"] += 1
        else:
            kept[name] = case
    return list(kept.values())


def _case(item: Any) -> Case | None:
    if not isinstance(item, dict):
        return None
    output = item.get("output", item.get("label"))
    given = item.get("input", "")
    if isinstance(output, (int, float)) and not isinstance(output, bool):
        output = str(output)
    if not isinstance(output, str) or not isinstance(given or "", str):
        return None
    return Case((given or "").strip(), output.strip())


def _fault(case: Case) -> str | None:
    if not case.output:
        return "empty_output"
    return "output_is_input" if normal(case.input) == normal(case.output) else None
