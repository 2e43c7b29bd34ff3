"""Conversations as they come in files, brought to one shape: role and content, roles in the usual words."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from prefine.schema import Message

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "bing", "bard", "model", "function_call"), "assistant"),
    "system": "system",
    **dict.fromkeys(("tool", "observation", "function", "ipython"), "tool"),
}
"""Role names of the common data sets, in lower case."""

MAX_CHARACTERS = 4_000_000
MAX_MESSAGES = 10_000


class Dropped(Exception):
    """A row that cannot be used: `reason` is a short name to count by, `detail` says more about this row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def text_of(value: Any, name: str) -> str:
    """`value` as usable text; drops the row when it is missing, of another type or not encodable."""
    if value is None:
        raise Dropped(f"missing_{name}")
    if isinstance(value, list) and value and all(isinstance(p, dict) and p.get("type") == "text" for p in value):
        return "".join(text_of(p.get("text", p.get("value")), name) for p in value)
    if not isinstance(value, str):
        raise Dropped(f"bad_type_{name}", f"{type(value).__name__} where text is expected")
    if len(value) > MAX_CHARACTERS:
        raise Dropped("too_long", f"{name} has {len(value)} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Dropped("bad_unicode", f"{name}: {error.reason}") from error
    return value


def list_of(value: Any, name: str) -> list[Any]:
    """`value` as a list, empty when it is missing; drops the row when it is something else."""
    if value is None or isinstance(value, (list, tuple)):
        return list(value or [])
    raise Dropped(f"bad_type_{name}", f"{type(value).__name__} where a list is expected")


def map_of(value: Any, name: str) -> dict[str, Any]:
    """`value` as a dictionary; Arrow gives maps back as lists of pairs."""
    pairs = list(value.items()) if isinstance(value, dict) else list_of(value, name)
    if not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
        raise Dropped(f"bad_type_{name}", "a map is expected")
    return {text_of(str(k), name): v for k, v in pairs}


def to_messages(value: Any, name: str, notes: Counter[str]) -> list[Message]:
    """Messages out of a string (one user turn), a message, or a list of messages in either spelling of their keys."""
    if isinstance(value, str):
        return [{"role": "user", "content": text_of(value, name)}]
    items = [value] if isinstance(value, dict) else value
    if value is None:
        raise Dropped(f"missing_{name}")
    if not isinstance(items, (list, tuple)) or not all(isinstance(m, dict) for m in items):
        raise Dropped(f"bad_type_{name}", f"{type(value).__name__} where messages are expected")
    if len(items) > MAX_MESSAGES:
        raise Dropped("too_long", f"{len(items)} messages")
    return tidy([_message(m, name, notes) for m in items], notes)


def _message(item: dict[str, Any], name: str, notes: Counter[str]) -> Message:
    role = item.get("role", item.get("from"))
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        raise Dropped("unknown_role", repr(role))
    content = item.get("content", item.get("value"))
    calls = item.get("tool_calls")
    if calls and not content:
        notes["tool_calls_as_text"] += 1
        content = calls if isinstance(calls, str) else json.dumps(calls, ensure_ascii=False)
    if isinstance(content, list) and not all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        raise Dropped("not_text", "a message has parts that are not text")
    weight = item.get("loss_weight")
    if isinstance(weight, (int, float)) and weight != (known == "assistant"):
        notes["loss_weights_not_followed"] += 1
    return {"role": known, "content": text_of("" if content == [] else content, name)}


def tidy(messages: list[Message], notes: Counter[str]) -> list[Message]:
    """Merge consecutive turns of one role (tool results stay apart) and drop what an assistant said before any user.

    A list that starts with an assistant and has no user at all is a response, and is left as it is.
    """
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"] != "tool":
            notes["merged_turns"] += 1
            merged[-1] = {"role": message["role"], "content": f"{merged[-1]['content']}\n\n{message['content']}"}
        else:
            merged.append(message)
    first = next((i for i, m in enumerate(merged) if m["role"] == "user"), None)
    if first is None or all(m["role"] == "system" for m in merged[:first]):
        return merged
    notes["trimmed_leading_assistant"] += 1
    return [m for m in merged[:first] if m["role"] == "system"] + merged[first:]


def split_last(messages: list[Message], notes: Counter[str]) -> tuple[list[Message], list[Message]]:
    """A conversation as its context and its last assistant turn; what follows that turn is cut off."""
    last = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "assistant"), None)
    if last is None:
        raise Dropped("no_assistant_turn")
    if last < len(messages) - 1:
        notes["trimmed_after_last_response"] += 1
    return messages[:last], [messages[last]]


def first_user(messages: list[Message]) -> str:
    """The text of the first user turn; of the first turn when there is no user."""
    return next((m["content"] for m in messages if m["role"] == "user"), messages[0]["content"] if messages else "")
