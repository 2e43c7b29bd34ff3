"""What a model's reply says, read with patience: JSON with chatter around it or cut short, and fields between tags."""

from __future__ import annotations

import json
import re
from typing import Any

_DECODER = json.JSONDecoder(strict=False)
_MARKER = re.compile(r"^\s*(?:[-*•]\s+|(?:task|item|prompt)?\s*#?\d{1,3}\s*[.):]\s+)", re.IGNORECASE)


def json_items(text: str) -> list[Any] | None:
    """The items of the first JSON list of texts or objects; of one that is cut short, those that are whole.

    Objects that stand by themselves, without a list around them, count as a list. None where there is neither.
    """
    at = -1
    while (at := text.find("[", at + 1)) >= 0:
        items = _whole_items(text, at + 1)
        if items and all(isinstance(item, (str, dict)) for item in items):
            return items
        if items == [] and text[at + 1 :].lstrip().startswith("]"):
            return []
    found = json_objects(text)
    return found or None


def json_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text that are no part of another one."""
    found, at = [], 0
    while (start := text.find("{", at)) >= 0:
        try:
            value, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def listed_lines(text: str) -> list[str]:
    """The lines that are not empty, without numbers or bullets before them."""
    lines = [_MARKER.sub("", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def tagged(text: str, name: str) -> str | None:
    """What stands between <name> and the last </name> after it, or None."""
    start = text.find(f"<{name}>")
    end = text.rfind(f"</{name}>")
    if start < 0 or end < start:
        return None
    return text[start + len(name) + 2 : end].strip()


def yes_or_no(text: str) -> bool | None:
    """The verdict in the first word that is one."""
    found = re.search(r"\b(yes|no)\b", text, re.IGNORECASE)
    return None if found is None else found[1].lower() == "yes"


def _whole_items(text: str, at: int) -> list[Any]:
    """The items from `at` on, up to the end of the list or to the first that is not whole."""
    items: list[Any] = []
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at >= len(text) or text[at] == "]":
            return items
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return items
        items.append(value)
