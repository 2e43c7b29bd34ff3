"""Signs that a model's greedy responses degenerate, counted on their texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from prefine.report.collect import Run
from prefine.schema import Group

FEWEST_WORDS = 12
REPEATED = 0.5
"""A response of at least `FEWEST_WORDS` words of which fewer than this share of its trigrams differ repeats itself."""
FEWEST_RESPONSES = 10
"""Below this many, the most frequent answer says nothing."""
_REFUSAL = re.compile(
    r"^\W*(i'?m sorry|sorry,|i apologi[sz]e|i can(?:'|\u2019)?t |i cannot |i can not |i won(?:'|\u2019)?t |i am unable|"
    r"i'?m unable|i am not able|as an ai\b)",
    re.IGNORECASE,
)


def collapse(run: Run) -> dict[str, Any] | None:
    """By `model` and `start`: shares of greedy responses that repeat themselves, are empty, are the most frequent text,
    or begin as refusals do (in English). None without responses.
    """
    found = {role: signs(texts) for role in ("model", "start") if (texts := greedy_texts(run.groups, role))}
    if run.role == "start" and "start" in found:
        found["model"] = found["start"]
    return found or None


def greedy_texts(groups: Sequence[Group], role: str) -> list[str]:
    """The greedy responses of a role, in the order of the prompts."""
    return [
        c.text
        for g in groups
        for c in g.candidates
        if (c.generator.get("role"), c.generator.get("mode")) == (role, "greedy")
    ]


def signs(texts: Sequence[str]) -> dict[str, float]:
    """The shares of texts with each sign."""
    n = len(texts)
    full = [t.strip() for t in texts if t.strip()]
    common = Counter(full).most_common(1)
    return {
        "repeating": sum(map(repeats, full)) / n,
        "empty": 1 - len(full) / n,
        "same_answer": common[0][1] / n if common and n >= FEWEST_RESPONSES and common[0][1] > 1 else 0.0,
        "refusing": sum(bool(_REFUSAL.match(t)) for t in full) / n,
    }


def repeats(text: str) -> bool:
    """Whether a text says the same again and again."""
    words = text.lower().split()
    if len(words) < FEWEST_WORDS:
        return False
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) < REPEATED
