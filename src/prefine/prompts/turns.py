"""What a simulated user may not say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefine.data.clean.text import words
from prefine.prompts.novelty import rouge_l
from prefine.schema import Message

LISTED = 3
"""Lines of a list from which on a message reads like an answer."""
FEW_WORDS = 12
"""A message of thanks or goodbye with no more words than this says nothing else."""

_ASSISTANT = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|assistant)\b"
    r"|\bhow (?:can|may) i (?:help|assist)(?: you)?\b|\b(?:i['\u2019]m|i am) (?:glad|happy) to (?:help|assist)\b"
    r"|^\W*(?:certainly|of course|absolutely|sure)[,!.]+ (?:here|i can|let me|i['\u2019]d)\b"
    r"|\b(?:let me know|feel free) (?:if|to) (?:you|ask|reach)\b|^\W*you['\u2019]re welcome\b",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?:^|\n)\s*(?:\*\*)?(?:user|assistant|human|ai|person|bot|system)(?:\*\*)?\s*:", re.IGNORECASE)
_LIST = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_CLOSING = re.compile(
    r"\b(?:thank(?:s| you)|good ?bye|bye|have a (?:nice|good|great) (?:day|one)|that(?:['\u2019]s| is) all)\b",
    re.IGNORECASE,
)


def turn_fault(
    text: str, before: Sequence[Message], *, longest: int, max_similarity: float, may_close: bool
) -> str | None:
    """Why a text is no user's next message after `before`, as a short name, or None. `longest` is in words."""
    n = len(words(text))
    if n == 0:
        return "empty"
    if n > longest:
        return "too_long"
    if _LABEL.search(text):
        return "role_label"
    if _ASSISTANT.search(text) or len(_LIST.findall(text)) >= LISTED:
        return "like_an_assistant"
    if not may_close and n <= FEW_WORDS and _CLOSING.search(text) and "?" not in text:
        return "closes"
    tokens = words(text)
    near = any(rouge_l(tokens, words(m["content"])) > max_similarity for m in before)
    return "repeats" if near else None
