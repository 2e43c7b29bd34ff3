"""What makes a teacher's answer unfit to be imitated, and the capitals that some dialogues lack."""

from __future__ import annotations

import re

from prefine.data.clean.degeneration import flags_of

FEW_LETTERS = 40
"""Below this many letters capitals say nothing: an abbreviation is an answer, too."""

_BOILERPLATE = re.compile(
    r"\b(?:as an? (?:ai|artificial intelligence)\b|as an? (?:large )?language model\b"
    r"|i (?:do not|don['\u2019]t|am not able to|can(?:not| not|['\u2019]t)) (?:actually )?"
    r"(?:have|feel|hold|experience) "
    r"(?:any |personal |human |my own |own )*(?:feelings|emotions|opinions|beliefs|experiences|preferences)\b"
    r"|my (?:knowledge|training) (?:cutoff|cut-off|data)\b)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(^\s*|[.!?]\s+|\n\s*)([^\W\d_])")
_I = re.compile(r"\bi(?=['\u2019](?:m|d|ll|ve|re)\b|[\s,;:!?]|$)")


def flaw(text: str, prompt: str, finish_reason: str | None, *, rewriting: bool = False) -> str | None:
    """Why an answer should not be imitated, as a short name, or None. `rewriting`: it may say the prompt again."""
    flags = flags_of(text, prompt, finish_reason != "length", rewriting=rewriting)
    found = [name for name in flags if name != "secret"]
    if found:
        return found[0]
    if _BOILERPLATE.search(text):
        return "boilerplate"
    letters = [c for c in text if c.isalpha()]
    capitals = sum(c.isupper() for c in letters)
    return "capitals" if len(letters) >= FEW_LETTERS and capitals > 0.7 * len(letters) else None


def truecased(text: str) -> str:
    """A text without any capital letter gets them at the beginnings of sentences and for `I`; others stay."""
    if any(c.isupper() for c in text):
        return text
    return _I.sub("I", _SENTENCE.sub(lambda found: found[1] + found[2].upper(), text))
