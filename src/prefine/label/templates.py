"""Texts that ask a judge: templates with slots, filled so that nothing shown can pass for a part of the question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefine.errors import PrefineError
from prefine.schema import Message, digest

PROMPTS = Path(__file__).parent / "prompts"

_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_CONTROL = re.compile(
    r"<(?=\|[\w .:-]{1,40}\|>|\uff5c[^\uff5c]{1,40}\uff5c>|/?s>|/?think>|(?:start|end)_of_turn>|<SYS>>|</SYS>>)"
    r"|\[(?=/?INST\])"
)
"""Where the control strings of well-known chat templates begin."""


@dataclass(frozen=True)
class Filled:
    """A question as it is asked, and what it shows of others' texts."""

    text: str
    code: str
    """What a verdict has to carry to be beyond doubt; empty where the template does not ask for it."""
    shown: tuple[str, ...]


class Form:
    """A template with slots such as {prompt}, filled in one go: what is filled in is never searched for slots.

    {mark} and {code} are hexadecimal digits that depend on everything filled in and do not occur in it, so that no
    text shown can contain them: {mark} stands in the lines around such texts, {code} in the verdict that is asked for.
    In a template without {mark}, lines of a text that begin like a line of the template are marked as quoted. A
    paragraph whose slot has no value is left out.
    """

    def __init__(self, text: str, where: str, slots: Sequence[str], optional: Sequence[str] = ()) -> None:
        known = (*slots, *optional, "mark", "code")
        self.pieces = re.split(r"\{(" + "|".join(known) + r")\}", text)
        found = [name for name in self.pieces[1::2] if name in slots]
        if sorted(found) != sorted(slots):
            wanted = ", ".join(f"{{{name}}}" for name in slots)
            raise PrefineError(f"{where}: this template needs {wanted} once each, it has {found}")
        self.text, self.where, self.slots, self.optional = text, where, tuple(slots), tuple(optional)
        self.marked = "mark" in self.pieces[1::2]
        self.coded = "code" in self.pieces[1::2]
        marks = {_mark(line) for literal in self.pieces[::2] for line in literal.splitlines()}
        self.marks = tuple(sorted(m for m in marks if m))

    def filled(
        self,
        texts: Mapping[str, str | None],
        words: Mapping[str, str] | None = None,
        lists: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    ) -> Filled:
        """The question.

        `texts` are others' (None: there is none), `words` are our own, such as the ends of a scale; `lists` are texts
        of others under names of ours, each between lines of its own.
        """
        given = {name: text for name, text in texts.items() if text is not None}
        absent = set(self.slots + self.optional) - {*given, *(words or {}), *(lists or {})}
        shown = [*given.values(), *(text for items in (lists or {}).values() for _, text in items)]
        mark, code = (unforgeable([self.text, *shown], purpose) for purpose in ("mark", "code"))
        values = {name: self._safe(text) for name, text in given.items()} | dict(words or {})
        for slot, items in (lists or {}).items():
            sections = [f"=== {n} {mark} ===\n{without_controls(t)}\n=== end of {n} {mark} ===" for n, t in items]
            values[slot] = "\n\n".join(sections)
        values |= {"mark": mark, "code": code}
        out = []
        for paragraph in re.split(r"(\n[ \t]*\n)", self.text) if absent else [self.text]:
            pieces = re.split(r"\{(" + "|".join((*self.slots, *self.optional, "mark", "code")) + r")\}", paragraph)
            if not absent & set(pieces[1::2]):
                out.append("".join(values[p] if i % 2 else p for i, p in enumerate(pieces)))
            elif out:
                out.pop()
        return Filled("".join(out), code if self.coded else "", tuple(shown))

    def _safe(self, text: str) -> str:
        return without_controls(text) if self.marked else self.quoted(text)

    def quoted(self, text: str) -> str:
        """The text with the lines marked that begin like a line of the template."""
        lines = text.splitlines()
        if not any(_mark(line).startswith(self.marks) for line in lines):
            return text
        return "\n".join("> " + line if _mark(line).startswith(self.marks) else line for line in lines)


def without_controls(text: str) -> str:
    """The text with a space inside the control strings of chat templates, which some servers would obey."""
    return _CONTROL.sub(lambda found: found[0] + " ", text)


def unforgeable(texts: Sequence[str], purpose: str) -> str:
    """Eight hexadecimal digits that follow from the texts and are in none of them."""
    for attempt in range(1 << 16):
        found = digest({"purpose": purpose, "texts": list(texts), "attempt": attempt})[:8]
        if not any(found in text.lower() for text in texts):
            return found
    raise PrefineError("the texts to judge contain every mark that could set them off")


def load_form(template: str | None, default: str, slots: Sequence[str], optional: Sequence[str] = ()) -> Form:
    """The template in the file `template`; None is `default`, one of those that come with prefine."""
    path = PROMPTS / default if template is None else Path(template)
    return Form(read_template(path), str(path), slots, optional)


def read_template(path: Path) -> str:
    """The text of a template's file."""
    try:
        return path.read_text(encoding="utf-8").strip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PrefineError(f"the template {path} cannot be read: {reason}") from error


def conversation(messages: Sequence[Message]) -> str:
    """A prompt as text: a single user turn by itself, anything longer as a transcript."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{_SPEAKER.get(m['role'], m['role'])}: {m['content']}" for m in messages)


def _mark(line: str) -> str:
    return " ".join(line.split()).casefold()
