"""Texts that ask a model: files with slots such as {task}, filled in one go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prefine.errors import PrefineError, nearest
from prefine.schema import Message, digest

_SLOT = re.compile(r"\{([a-z_]+)\}")
_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


class Text:
    """A text with slots. What is filled in is never searched for slots; a line that is only an empty slot goes."""

    def __init__(self, text: str, where: str, slots: Sequence[str], optional: Sequence[str] = ()) -> None:
        found = _SLOT.findall(text)
        for name in found:
            if name not in (*slots, *optional):
                raise PrefineError(f"{where}: there is no slot {{{name}}}{nearest(name, [*slots, *optional])}")
        missing = [name for name in slots if name not in found]
        if missing:
            raise PrefineError(f"{where}: the slot {{{missing[0]}}} is missing")
        self.text, self.version = text, digest(text)[:8]

    def fill(self, **values: str) -> str:
        """The text with `values` in its slots."""
        lines = []
        for line in self.text.split("\n"):
            alone = _SLOT.fullmatch(line.strip())
            if alone is None or values[alone[1]]:
                lines.append(_SLOT.sub(lambda slot: values[slot[1]], line))
            elif lines and not lines[-1].strip():
                lines.pop()
        return "\n".join(lines)


def load_text(path: str | None, default: Path, slots: Sequence[str], optional: Sequence[str] = ()) -> Text:
    """The text in the file `path`; None is `default`, one of those that come with prefine."""
    file = default if path is None else Path(path)
    return Text(_read(file).strip("\n"), str(file), slots, optional)


def load_lines(path: str | None, default: Path | None = None) -> list[str]:
    """The lines of a file, without empty ones; `default` where no path is given, and without both an empty list."""
    file = default if path is None else Path(path)
    if file is None:
        return []
    lines = [line.strip() for line in _read(file).splitlines() if line.strip()]
    if not lines:
        raise PrefineError(f"{file}: there are no lines in it")
    return lines


def transcript(messages: Sequence[Message]) -> str:
    """A prompt as text: a single user turn by itself, anything longer with its speakers."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{_SPEAKER.get(m['role'], m['role'])}: {m['content']}" for m in messages)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrefineError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
