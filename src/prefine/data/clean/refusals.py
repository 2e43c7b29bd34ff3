"""Phrases by which a response refuses: read from a text file, which anyone can replace or extend."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from prefine.data.clean.text import NO_SPACES, normal
from prefine.errors import PrefineError

SHIPPED = Path(__file__).parent / "texts" / "refusals.txt"
INCLUDE = "@shipped"
"""A line of a file that stands for the shipped phrases."""
_PIECE = re.compile(r"\s*\[(\d+)\]\s*|([(|)])|(\s+)|([^\s()|\[\]]+)|(.)")
_SPACED = re.compile(rf"[^\W{NO_SPACES}]")
"""A letter of a script that puts spaces between words."""


def refusals(path: str | None = None) -> re.Pattern[str]:
    """What finds a refusal in a text as `plain` has it: the phrases of a file, or the shipped ones.

    A line is a phrase; `(a|b)` is either, `[20]` up to 20 characters without the end of a sentence, `#` begins a
    comment, and `@shipped` stands for the shipped phrases. Raises `PrefineError` with the line of a mistake.
    """
    return _shipped() if path is None else _read(Path(path))


@functools.cache
def _shipped() -> re.Pattern[str]:
    return _read(SHIPPED)


def _read(file: Path) -> re.Pattern[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrefineError(f"{file}: the phrases of refusals cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        phrase = line.partition("#")[0].strip()
        if phrase == INCLUDE:
            found.append(_shipped().pattern)
        elif phrase:
            found.append(_pattern(phrase, f"{file}:{number}"))
    if not found:
        raise PrefineError(f"{file}: there is no phrase in it")
    return re.compile("|".join(found))


def plain(text: str) -> str:
    """A text in the spelling in which phrases are looked for, without case."""
    return normal(text).replace("\u2019", "'").replace("\uff0c", ",")


def _pattern(phrase: str, where: str) -> str:
    """The phrase as a regular expression."""
    out, depth = [], 0
    for gap, mark, space, word, other in _PIECE.findall(plain(phrase)):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if other or depth < 0 or (mark == "|" and not depth):
            raise PrefineError(f"{where}: '{phrase}' is no phrase: brackets are (a|b) and [20]")
        if gap:
            out.append(rf"[^.!?\u3002\uff01\uff1f]{{0,{gap}}}")
        elif mark:
            out.append({"(": "(?:"}.get(mark, mark))
        else:
            out.append(r"\s+" if space else _whole(word))
    if depth:
        raise PrefineError(f"{where}: '{phrase}' is no phrase: a bracket is not closed")
    return "".join(out)


def _whole(word: str) -> str:
    """The word, which is not the beginning or end of a longer one; in scripts without spaces it may be."""
    before, after = (r"\b" if _SPACED.match(word[at]) else "" for at in (0, -1))
    return before + re.escape(word) + after
