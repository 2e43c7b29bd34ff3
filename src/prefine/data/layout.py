"""Where a rendered conversation is prompt, where it is response, and the tokens of both."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prefine.data.messages import Dropped
from prefine.data.template import (
    after_prompt,
    after_response,
    fold_system,
    generation_spans,
    render,
    supports_system,
)
from prefine.data.tokens import Codec, Tokens, codec, leading_ids, shared_length
from prefine.schema import Message

_MARK = "\u2063\u2064\u2063"
"""Invisible signs that no text holds: where they stand in a rendered conversation is where a turn begins."""


@dataclass
class Encoded:
    """A prompt and its responses as token ids.

    `responses[k]` follow `prompt_ids`; `masks[k]` is True on the tokens to train on. `flags` counts what was noticed:
    escaped_control_strings, straddling_tokens, template_not_prefix_preserving, system_folded, end_of_turn_appended,
    truncated_prompt, truncated_responses, double_bos.
    """

    prompt_ids: list[int]
    responses: list[list[int]]
    masks: list[list[bool]]
    flags: dict[str, int] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens of the prompt with its longest response."""
        return len(self.prompt_ids) + max(map(len, self.responses), default=0)

    def flag(self, name: str, n: int = 1) -> None:
        if n:
            self.flags[name] = self.flags.get(name, 0) + n


@dataclass
class _Text:
    """A rendered conversation: where the trained parts are, and what must follow as an end-of-turn token."""

    text: str
    neutral: str | None
    spans: list[tuple[int, int]] = field(default_factory=list)
    append_end: bool = False
    odd_prefix: bool = False


class Conversation:
    """A tokenizer with its template; the facts that hold for all conversations are found once."""

    def __init__(self, tokenizer: Any, encoder: Codec) -> None:
        self.tokenizer, self.codec = weakref.proxy(tokenizer), encoder
        self.lead: list[int] = []
        self.tail = after_response(tokenizer)
        self.gap = len(after_prompt(tokenizer))
        self._system: bool | None = None

    def prompt(self, messages: Sequence[Message]) -> Tokens:
        """The tokens of a prompt with its generation prompt."""
        text = self._render_prompt(self.usable(messages))
        return self._without_second_bos(self._tokens(text))

    def before_user(self, messages: Sequence[Message]) -> Tokens:
        """The tokens of a conversation up to where the user's next turn begins."""
        turn: Message = {"role": "user", "content": _MARK}
        whole = self._render([*self.usable(messages), turn], False)
        at = whole.text.rfind(_MARK)
        if at < 0:
            raise Dropped("unmaskable", "the template changes what the user says")
        return self._without_second_bos(self._tokens(_cut(whole, at)))

    def encode(
        self, prompt: Sequence[Message], responses: Sequence[Sequence[Message]], finished: Sequence[bool]
    ) -> Encoded:
        """All responses, whatever their length."""
        messages = self.usable(prompt)
        before = self._render_prompt(messages)
        laid = [self._lay_out(messages, r, done, before) for r, done in zip(responses, finished, strict=True)]
        head = self._tokens(before)
        wholes = [self._tokens(text, before, head) for text in laid]
        n = min((shared_length(head.ids, whole.ids) for whole in wholes), default=len(head.ids))
        if not n:
            raise Dropped("unmaskable", "the prompt changes with the response")
        encoded = Encoded(head.ids[:n], [], [])
        for text, whole in zip(laid, wholes, strict=True):
            if shared_length(head.ids, whole.ids) < len(head.ids):
                encoded.flag("template_not_prefix_preserving" if text.odd_prefix else "straddling_tokens")
            self._add(encoded, text, whole, n, exact=n == len(head.ids))
        encoded.flag("escaped_control_strings", sum(t.neutral is not None for t in laid))
        encoded.flag("system_folded", messages != list(prompt))
        second = len(head.ids) - len(self._without_second_bos(head).ids)
        encoded.flag("double_bos", second)
        encoded.prompt_ids = encoded.prompt_ids[second:]
        return encoded

    def usable(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template can take them: without a system role, its text goes into the first user turn."""
        if not messages or messages[0]["role"] != "system":
            return list(messages)
        if self._system is None:
            self._system = supports_system(self.tokenizer)
        return list(messages) if self._system else fold_system(messages)

    def _add(self, encoded: Encoded, text: _Text, whole: Tokens, n: int, exact: bool) -> None:
        """Add what follows the first `n` tokens; `exact` when those are the whole prompt."""
        ids = whole.ids[n:]
        if exact and text.spans == [(text.spans[0][0], len(text.text))]:
            mask = [True] * len(ids)
        else:
            mask = [
                any(start <= s and e <= end for start, end in text.spans)
                for s, e in zip(whole.starts[n:], whole.ends[n:], strict=True)
            ]
        end = self.tokenizer.eos_token_id
        if text.append_end and end is not None:
            ids, mask = [*ids, end], [*mask, True]
            encoded.flag("end_of_turn_appended")
        if not any(mask):
            raise Dropped("empty_response")
        encoded.responses.append(ids)
        encoded.masks.append(mask)

    def _tokens(self, text: _Text, before: _Text | None = None, head: Tokens | None = None) -> Tokens:
        """Tokens of a text; those of the prompt it begins with are used again where they are given."""
        if text.neutral is not None:
            tokens = self.codec.encode_guarded(text.text, text.neutral)
        elif before is not None and before.neutral is None and head is not None and not self.lead:
            return self.codec.encode_like(text.text, before.text, head)
        else:
            tokens = self.codec.encode(text.text)
        if self.lead:
            zeros = [0] * len(self.lead)
            tokens = Tokens(self.lead + tokens.ids, zeros + tokens.starts, zeros + tokens.ends)
        return tokens

    def _without_second_bos(self, tokens: Tokens) -> Tokens:
        bos = self.tokenizer.bos_token_id
        if bos is not None and tokens.ids[:2] == [bos, bos]:
            return Tokens(tokens.ids[1:], tokens.starts[1:], tokens.ends[1:])
        return tokens

    def _render_prompt(self, messages: Sequence[Message]) -> _Text:
        return self._render(messages, True)

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> _Text:
        text = render(self.tokenizer, messages, generation_prompt)
        if not any(self.codec.injects(m["content"]) for m in messages):
            return _Text(text, None)
        harmless: list[Message] = [{"role": m["role"], "content": self.codec.neutral(m["content"])} for m in messages]
        neutral = render(self.tokenizer, harmless, generation_prompt)
        if len(neutral) != len(text):
            raise Dropped("control_tokens_in_text", "and the template changes the text")
        return _Text(text, neutral)

    def _lay_out(
        self, prompt: Sequence[Message], completion: Sequence[Message], finished: bool, before: _Text
    ) -> _Text:
        """The whole conversation up to the end of its last turn, with the parts that the model has to write."""
        if not completion or completion[-1]["role"] != "assistant" or not completion[-1]["content"].strip():
            raise Dropped("empty_response")
        whole = self._render([*prompt, *completion], False)
        end = 0
        for j, turn in enumerate(completion):
            if turn["role"] != "assistant":
                continue
            last = j == len(completion) - 1
            start_text = before.text if j == 0 else self._render([*prompt, *completion[:j]], True).text
            upto = whole.text if last else self._render([*prompt, *completion[: j + 1]], False).text
            end_of_text = self._end_of_text(upto, turn["content"])
            start = self._start(start_text, upto, whole, end_of_text - len(turn["content"].strip()))
            end, closed = (end_of_text, True) if last and not finished else self._end_of_turn(upto, end_of_text)
            whole.append_end = not closed
            if not whole.text.startswith(upto[:end]):
                end = end_of_text
            if start < 0 or not whole.text.startswith(upto[:end]):
                return self._lay_out_by_marks(prompt, completion, whole)
            whole.spans.append((start, end))
        return _cut(whole, end)

    def _start(self, before: str, upto: str, whole: _Text, content: int) -> int:
        """The character where a response begins, or -1 when that cannot be told from the two renderings."""
        if upto.startswith(before):
            return len(before)
        whole.odd_prefix = True
        common = shared_length(before, upto)
        # Only what the template wrote for the generation prompt may differ, never the words of the prompt.
        return min(common, content) if len(before) - common <= self.gap else -1

    def _end_of_text(self, rendered: str, content: str) -> int:
        if rendered.endswith(self.tail):
            return len(rendered) - len(self.tail)
        at = rendered.rfind(content.strip())
        if at < 0:
            raise Dropped("unmaskable", "the template changes the response")
        return at + len(content.strip())

    def _end_of_turn(self, rendered: str, end_of_text: int) -> tuple[int, bool]:
        """Where the turn ends: after the end-of-turn token if the template writes one, else after its last letter."""
        rest = rendered[end_of_text:]
        marker = self.codec.first_control(rest)
        if marker is not None:
            return end_of_text + marker[1], True
        return end_of_text + len(rest.rstrip()), False

    def _lay_out_by_marks(self, prompt: Sequence[Message], completion: Sequence[Message], whole: _Text) -> _Text:
        """The same from the template's own `{% generation %}` marks."""
        spans = generation_spans(self.tokenizer, [*prompt, *completion])
        turns = sum(m["role"] == "assistant" for m in completion)
        if len(spans) < turns:
            raise Dropped("unmaskable", "the template renders the prompt differently once it is answered")
        whole.spans, whole.odd_prefix = spans[-turns:], True
        whole.append_end = self.codec.first_control(whole.text[whole.spans[-1][0] : whole.spans[-1][1]]) is None
        return _cut(whole, whole.spans[-1][1])


class PlainText(Conversation):
    """Text without a template: the prompt's turns, one per line, and the response directly after it."""

    def __init__(self, tokenizer: Any, encoder: Codec) -> None:
        self.tokenizer, self.codec = weakref.proxy(tokenizer), encoder
        self.lead, self.tail, self.gap = leading_ids(tokenizer), "", 0

    def usable(self, messages: Sequence[Message]) -> list[Message]:
        return list(messages)

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> _Text:
        text = "\n".join(m["content"] for m in messages)
        return _Text(text, self.codec.neutral(text) if self.codec.injects(text) else None)

    def _lay_out(
        self, prompt: Sequence[Message], completion: Sequence[Message], finished: bool, before: _Text
    ) -> _Text:
        if not any(m["role"] == "assistant" and m["content"].strip() for m in completion):
            raise Dropped("empty_response")
        text, spans = before.text, []
        for j, turn in enumerate(completion):
            start = len(text) + (j > 0)
            text += ("\n" if j else "") + turn["content"]
            if turn["role"] == "assistant":
                spans.append((start, len(text)))
        neutral = self.codec.neutral(text) if self.codec.injects(text) else None
        return _Text(text, neutral, spans, append_end=finished)


def _cut(text: _Text, end: int) -> _Text:
    text.text = text.text[:end]
    text.neutral = text.neutral and text.neutral[:end]
    return text


_known: weakref.WeakKeyDictionary[Any, dict[bool, Conversation]] = weakref.WeakKeyDictionary()


def conversation(tokenizer: Any, plain_text: bool) -> Conversation:
    """The conversation renderer of a tokenizer, made once."""
    known = _known.setdefault(tokenizer, {})
    encoder = codec(tokenizer)
    if plain_text not in known or known[plain_text].codec is not encoder:
        known[plain_text] = (PlainText if plain_text else Conversation)(tokenizer, encoder)
    return known[plain_text]
