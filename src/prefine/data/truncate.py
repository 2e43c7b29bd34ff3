"""Cutting an example to a length without breaking headers, BOS or the comparison of its responses."""

from __future__ import annotations

from collections.abc import Sequence

from prefine.data.layout import Conversation, Encoded
from prefine.data.messages import Dropped
from prefine.schema import Message

MIN_PROMPT = 16
"""Tokens of the last user turn that must be left when a prompt is cut."""


def truncated(
    chat: Conversation,
    prompt: Sequence[Message],
    responses: Sequence[Sequence[Message]],
    finished: Sequence[bool],
    encoded: Encoded,
    max_length: int,
) -> Encoded:
    """Cut to `max_length`: responses first, all by the same rule, then the prompt by whole turns."""
    room = max(max_length - len(encoded.prompt_ids), max_length // 2)
    cut = [len(r) > room for r in encoded.responses]
    if any(cut) and not all(cut):
        # A cut response against a whole one teaches which was cut.
        raise Dropped("asymmetric_truncation")
    longest = min(room, max(map(len, encoded.responses)))
    shorter = len(encoded.prompt_ids) + longest > max_length
    if shorter:
        messages = shorter_prompt(chat, prompt, max_length - longest)
        encoded = chat.encode(messages, responses, finished)
        encoded.flag("truncated_prompt")
    if any(cut):
        room = min(room, max_length - len(encoded.prompt_ids))
        encoded.responses = [r[:room] for r in encoded.responses]
        encoded.masks = [m[:room] for m in encoded.masks]
        encoded.flag("truncated_responses", len(cut))
    if encoded.length > max_length:
        raise Dropped("too_long", f"{encoded.length} tokens after truncation")
    if not all(map(any, encoded.masks)):
        raise Dropped("empty_response", "nothing is left after truncation")
    return encoded


def shorter_prompt(chat: Conversation, messages: Sequence[Message], budget: int) -> list[Message]:
    """The prompt within `budget` tokens, cut in messages so that headers and BOS stay whole.

    System turns and the last user turn are kept; the oldest others go first. If the last user turn alone is too
    long, its end stays, at least `MIN_PROMPT` tokens of it.
    """
    system = [m for m in messages if m["role"] == "system"]
    turns = [m for m in messages if m["role"] != "system"]
    starts = [i for i, m in enumerate(turns) if m["role"] == "user"]
    if not starts:
        raise Dropped("prompt_alone_too_long")
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if len(chat.prompt([*system, *turns[starts[middle] :]]).ids) <= budget:
            high = middle
        else:
            low = middle + 1
    if low < len(starts):
        return [*system, *turns[starts[low] :]]
    last, rest = turns[starts[-1]], turns[starts[-1] + 1 :]
    content = chat.codec.encode(last["content"])
    keep = len(content.ids)
    kept = [*system, last, *rest]
    while (over := len(chat.prompt(kept).ids) - budget) > 0:
        keep -= over
        if keep < MIN_PROMPT:
            raise Dropped("prompt_alone_too_long")
        text = last["content"][content.starts[-keep] :]
        kept = [*system, {"role": "user", "content": text}, *rest]
    return kept
