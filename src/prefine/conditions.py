"""How a prompt asks for ratings or for a score: the one spelling that training, pairs and inference share.

A condition such as `<helpfulness: 4> <honesty: 2>` stands before the text of the last user turn; a goal stands in the
system message. A group that asks keeps its id, so that held-out prompts stay held out whatever they ask for; what it
asks is in its `task_meta`. Nothing here changes the messages it is given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from prefine.errors import PrefineError
from prefine.schema import Example, Group, Message, canonical_json, digest

CONDITION = "prefine.condition"
"""The entry of `task_meta` with the targets that a prompt asks for, as JSON."""
GOAL = "prefine.goal"
"""The entry of `task_meta` with the score that a prompt asks for."""
DECIMALS = 2
"""Numbers are spelled with at most this many decimals."""


def number_text(value: float) -> str:
    """A rating in one spelling: `4.0` is "4", `4.333` is "4.33", `-0.001` is "0"; not finite is a `ValueError`."""
    if not math.isfinite(value):
        raise ValueError(f"a rating to ask for must be a finite number, not {value}")
    text = f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def rating_word(name: str) -> str:
    """The word a condition has for a rating: the aspect of `scorer.aspect`, or else the whole name.

    What follows the dot in `gpt-4.1` is no aspect, since it is no word.
    """
    _, _, aspect = name.partition(".")
    word = aspect if aspect[:1].isalpha() else name
    if not word.strip() or any(c in "<>\r\n" for c in word):
        raise ValueError(f"a condition cannot name the rating {name!r}")
    return word


def condition_text(ratings: Mapping[str, float]) -> str:
    """`<helpfulness: 4> <honesty: 2>`, in the order of the words, whatever the order of `ratings`; "" for none.

    Two ratings with one word (`a.honesty` and `b.honesty`) are a `ValueError`.
    """
    return " ".join(f"<{word}: {number_text(value)}>" for word, value in sorted(_by_word(ratings).items()))


def _by_word(ratings: Mapping[str, float]) -> dict[str, float]:
    words: dict[str, float] = {}
    for name, value in ratings.items():
        word = rating_word(name)
        if word in words:
            raise ValueError(f"a condition would name two ratings '{word}'")
        words[word] = float(value)
    return words


def goal_text(goal: float) -> str:
    """The sentence of the system message that asks for a score."""
    return f"Write a response with a score of {number_text(goal)}."


def with_condition(messages: Sequence[Message], ratings: Mapping[str, float]) -> list[Message]:
    """New messages with the condition on a line before the text of the last user turn (without any, the last turn)."""
    out = list(messages)
    if ratings:
        at = _last_user(out)
        out[at] = {"role": out[at]["role"], "content": f"{condition_text(ratings)}\n{out[at]['content']}"}
    return out


def with_goal(messages: Sequence[Message], goal: float) -> list[Message]:
    """New messages with the goal before the text of the system message, or in a new system message."""
    out = list(messages)
    at = _system(out)
    if at is None:
        return [{"role": "system", "content": goal_text(goal)}, *out]
    out[at] = {"role": "system", "content": f"{goal_text(goal)}\n\n{out[at]['content']}"}
    return out


def _last_user(messages: Sequence[Message]) -> int:
    return max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)


def _system(messages: Sequence[Message]) -> int | None:
    return next((i for i, m in enumerate(messages) if m["role"] == "system"), None)


def asked(group: Group, ratings: Mapping[str, float] | None = None, goal: float | None = None) -> Group:
    """A copy of the group whose prompt asks for `ratings`, `goal` or both; its id and split stay.

    What the prompt already asks for is not asked twice; a prompt that asks for something else is a `PrefineError`.
    """
    messages, meta = group.messages, dict(group.task_meta)
    if ratings:
        if CONDITION not in meta:
            messages, meta[CONDITION] = with_condition(messages, ratings), canonical_json(_by_word(ratings))
        elif (old := condition_text(targets(group))) != (new := condition_text(ratings)):
            raise PrefineError(f"the prompt {group.id[:12]} already asks for {old}, so it cannot ask for {new}")
    if goal is not None:
        known = goal_of(group)
        if known is None:
            messages, meta[GOAL] = with_goal(messages, goal), repr(float(goal))
        elif number_text(known) != number_text(goal):
            old, new = number_text(known), number_text(goal)
            raise PrefineError(f"the prompt {group.id[:12]} already asks for the score {old}, so it cannot for {new}")
    return replace(group, messages=messages, task_meta=meta)


def targets(group: Group) -> dict[str, float]:
    """The ratings that the group's prompt asks for, by the words of the condition; empty where it asks for none."""
    return json.loads(group.task_meta.get(CONDITION, "{}"))


def goal_of(group: Group) -> float | None:
    """The score that the group's prompt asks for, or None."""
    text = group.task_meta.get(GOAL)
    return None if text is None else float(text)


def unasked(group: Group) -> Group:
    """The group as it was before `asked`: what a judge should see, who must not be told the target."""
    messages, meta = list(group.messages), dict(group.task_meta)
    ratings, goal = targets(group), goal_of(group)
    if ratings:
        at = _last_user(messages)
        text = messages[at]["content"].removeprefix(condition_text(ratings) + "\n")
        messages[at] = {"role": messages[at]["role"], "content": text}
    if goal is not None and (at := _system(messages)) is not None:
        text = goal_text(goal)
        if messages[at]["content"] == text:
            del messages[at]
        else:
            messages[at] = {"role": "system", "content": messages[at]["content"].removeprefix(text + "\n\n")}
    for key in (CONDITION, GOAL):
        meta.pop(key, None)
    return replace(group, messages=messages, task_meta=meta)


def asking(item: Example, prompt: list[Message]) -> Example:
    """The example with a prompt that asks, for all of its responses; its id then depends on that prompt, too."""
    if prompt == item.prompt:
        return item
    turns = [{"role": m["role"], "content": m["content"]} for m in prompt]
    return replace(item, id=digest({"example": item.id, "prompt": turns})[:32], prompt=prompt)
