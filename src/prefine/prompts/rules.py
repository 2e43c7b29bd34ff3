"""Which proposed tasks are no good as they stand: too short, not for a text assistant, in another language."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefine.data.clean.text import words
from prefine.errors import PrefineError, nearest

BLOCKED = (
    "image",
    "images",
    "picture",
    "pictures",
    "photo",
    "photos",
    "graph",
    "graphs",
    "chart",
    "diagram",
    "map",
    "maps",
    "file",
    "files",
    "video",
    "audio",
    "music",
    "draw",
    "plot",
    "sketch",
    "flowchart",
    "go to",
    "click",
)
"""Words of tasks that a model of texts can neither see nor do."""
STARTS = ("write a program",)
QUOTES = "\"'([\u201c\u2018\u00ab\u00bf\u00a1"
"""Signs that a sentence may well begin with."""

_SCRIPTS = {
    "arabic": ("ARABIC",),
    "chinese": ("CJK",),
    "greek": ("GREEK",),
    "hebrew": ("HEBREW",),
    "hindi": ("DEVANAGARI",),
    "japanese": ("CJK", "HIRAGANA", "KATAKANA"),
    "korean": ("HANGUL",),
    "russian": ("CYRILLIC",),
    "thai": ("THAI",),
    "ukrainian": ("CYRILLIC",),
}
_MOSTLY = 0.5
_NEARLY_ALL = 0.9

Checker = Callable[[str], Any]


def fault(text: str, language: str, blocked: Sequence[str], shortest: int, longest: int) -> str | None:
    """Why a task is rejected, as a short name, or None. Lengths are in words."""
    n = len(words(text))
    if n < shortest:
        return "too_short"
    if n > longest:
        return "too_long"
    if any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in blocked):
        return "blocked_keyword"
    if bad_start(text, language):
        return "bad_start"
    return None if in_script(text, language) else "not_language"


def bad_start(text: str, language: str) -> bool:
    """Whether a task asks for a program, begins with punctuation or, in English, with another sign than ASCII."""
    first = text.lstrip()[:1]
    quoted = first in QUOTES
    if text.lower().startswith(STARTS) or (unicodedata.category(first or " ")[0] in "PSZ" and not quoted):
        return True
    return language.lower() == "english" and not first.isascii() and not quoted


def in_script(text: str, language: str) -> bool:
    """Whether the letters are mostly those of the language's script; languages that are not known use Latin letters."""
    letters = [c for c in text if c.isalpha()]
    scripts = _SCRIPTS.get(language.lower(), ("LATIN",))
    own = sum(unicodedata.name(c, "").startswith(scripts) for c in letters)
    return not letters or own >= (_MOSTLY if language.lower() in _SCRIPTS else _NEARLY_ALL) * len(letters)


def find_checker(path: str) -> Checker:
    """The function that `module:function` names; modules in the working directory are found too."""
    module, _, name = path.partition(":")
    if importlib.util.find_spec(module.partition(".")[0]) is None and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise PrefineError(f"valid: {path}: there is no module '{error.name}' (is it on PYTHONPATH?)") from error
    if not callable(found):
        raise PrefineError(f"valid: {path}: no function '{name}' in {module}{nearest(name, vars(sys.modules[module]))}")
    return found
