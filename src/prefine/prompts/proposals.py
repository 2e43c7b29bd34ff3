"""What a reply proposes: a list of tasks, whole ones only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prefine.engines.base import Reply
from prefine.engines.replies import json_items, listed_lines

Style = Literal["json", "lines", "continue"]
TASK = ("task", "instruction", "prompt", "question")
"""Keys of an object under which its task may stand."""


@dataclass(frozen=True)
class Proposal:
    """A task as it was proposed; `fault` is set where it is no task at all."""

    text: str
    output: str = ""
    """Its answer, where the reply has one."""
    fault: str | None = None


def proposals(reply: Reply, style: Style) -> list[Proposal] | None:
    """The tasks of a reply in their order; None where it cannot be read.

    The last task of a reply that was cut short is given the fault `cut`. `continue`: the whole reply is one task.
    """
    cut = reply.finish_reason == "length"
    if style == "json":
        items = json_items(reply.text)
        if items is None:
            return None
        # Only the whole items are read, so the one that was cut is still to be told.
        return [_proposal(item) for item in items] + ([Proposal("", fault="cut")] if cut else [])
    texts = listed_lines(reply.text) if style == "lines" else [reply.text.strip()]
    found = [Proposal(text) for text in texts if text]
    if cut and found:
        found[-1] = Proposal(found[-1].text, fault="cut")
    return found or None


def _proposal(item: Any) -> Proposal:
    if isinstance(item, str):
        return Proposal(item.strip())
    task = next((item[key] for key in TASK if isinstance(item.get(key), str)), None)
    if task is None:
        return Proposal("", fault="no_task")
    given, output = item.get("input"), item.get("output")
    text = task.strip() + (f"\n\n{given.strip()}" if isinstance(given, str) and given.strip() else "")
    return Proposal(text, output.strip() if isinstance(output, str) else "")
