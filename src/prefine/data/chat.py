"""Messages to token ids with a training mask: the one place that knows where a response begins and ends.

The prompt is what the template writes before the model speaks; the response is what the model then has to write, its
end-of-turn token included. All responses to a prompt share the prompt's ids. Text that people wrote never becomes a
control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefine.data.layout import Encoded, conversation
from prefine.data.messages import Dropped
from prefine.data.template import apply_template
from prefine.data.truncate import shorter_prompt, truncated
from prefine.schema import Message

__all__ = ["Dropped", "Encoded", "apply_template", "encode", "prompt_ids", "stop_ids", "user_turn_ids"]


def encode(
    tokenizer: Any,
    prompt: Sequence[Message],
    responses: Sequence[Sequence[Message]],
    *,
    max_length: int | None = None,
    overlong: str = "drop",
    plain_text: bool = False,
    finished: Sequence[bool] | None = None,
) -> Encoded:
    """Token ids of a prompt and of each response to it, with the mask of what is trained on.

    `finished[k]` is False for a response that was cut off when it was sampled: it gets no end-of-turn token. Beyond
    `max_length` (prompt with its longest response) the example is dropped, or with `overlong="truncate"` cut: the
    ends of responses to half of the length at most, then whole turns of the prompt from the oldest on, then the
    beginning of the last user turn. Raises `Dropped` with the reason when no usable example is left.
    """
    chat = conversation(tokenizer, plain_text)
    done = finished or [True] * len(responses)
    encoded = chat.encode(prompt, responses, done)
    if max_length is None or encoded.length <= max_length:
        return encoded
    if overlong == "drop":
        raise Dropped("too_long", f"{encoded.length} tokens")
    return truncated(chat, prompt, responses, done, encoded, max_length)


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], *, max_length: int | None = None, plain_text: bool = False
) -> list[int]:
    """Token ids that the model continues: the prompt with the generation prompt, cut as `encode` cuts it."""
    chat = conversation(tokenizer, plain_text)
    ids = chat.prompt(messages).ids
    if max_length is not None and len(ids) > max_length:
        ids = chat.prompt(shorter_prompt(chat, messages, max_length)).ids
    return ids


def user_turn_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids after which a model writes the user's next turn, as a simulator of users has to."""
    return conversation(tokenizer, False).before_user(messages).ids


def stop_ids(tokenizer: Any, model: Any = None) -> list[int]:
    """Token ids that end a response: the template's end of turn, EOS, and what the model's generation settings name."""
    found: list[int] = []
    if getattr(tokenizer, "chat_template", None):
        chat = conversation(tokenizer, False)
        span = chat.codec.first_control(chat.tail)
        if span is not None:
            found.append(chat.codec.control[chat.tail[slice(*span)]])
    if tokenizer.eos_token_id is not None:
        found.append(tokenizer.eos_token_id)
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found += more if isinstance(more, (list, tuple)) else [] if more is None else [more]
    return list(dict.fromkeys(int(i) for i in found))
