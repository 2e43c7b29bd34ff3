"""What is wrong with a response by itself: cut off, empty, repetitive, a copy, a refusal, leftovers of a template."""

from __future__ import annotations

import re
import zlib

from prefine.data.clean.refusals import plain, refusals
from prefine.data.clean.text import ngrams, words

REPEATED_SHARE = 0.3
COMPRESSION = 0.2
COPIED = 0.9
GRAM = 4
LONG_ENOUGH = 40
"""Words below which repetition says nothing: a short list repeats, too."""
LONG_ENOUGH_BYTES = 400
REFUSAL_WORDS = 60
"""A refusal alone is short; a longer answer that also declines something is an answer."""

_RESIDUE = re.compile(
    r"<\|[a-z_]{2,24}\|>|<(start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</?s>|### (Instruction|Response):"
    r"|^\s*(Human|Assistant|User): ",
    re.MULTILINE,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]|\u00c3[\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u2122]")
_SECRET = re.compile(
    r"\b[\w.+-]{2,}@[\w-]{2,}\.[a-z]{2,6}\b"
    r"|\b(?:sk|pk|ghp|gho|hf|xox[bap])[-_][A-Za-z0-9_-]{16,}\b|\bAKIA[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b\d{3}-\d{2}-\d{4}\b|\b(?:\d[ -]?){15}\d\b"
)


def repeated_share(text: str) -> float:
    """Share of a text's word 4-grams that occurred in it before; 0 for a short text."""
    grams = ngrams(words(text), GRAM)
    return 1 - len(set(grams)) / len(grams) if len(grams) + GRAM - 1 >= LONG_ENOUGH else 0.0


def compression(text: str) -> float:
    """Bytes after zlib over bytes before; 1 for a short text."""
    data = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(data, 6)) / len(data) if len(data) >= LONG_ENOUGH_BYTES else 1.0


def containment(text: str, prompt: str) -> float:
    """Share of the text's word 4-grams that are in the prompt; for shorter texts 1 if the prompt contains it."""
    grams, there = ngrams(words(text), GRAM), set(ngrams(words(prompt), GRAM))
    return sum(g in there for g in grams) / len(grams) if len(grams) >= GRAM else 0.0


def flags_of(
    text: str, prompt: str, finished: bool = True, *, rewriting: bool = False, refusing: re.Pattern[str] | None = None
) -> dict[str, str]:
    """The flags of a response, each with what was seen. `rewriting`: the task is to say the prompt again.

    `refusing` finds a refusal (`prefine.data.clean.refusals`); without it the shipped phrases count. Secrets are told
    without their text.
    """
    found: dict[str, str] = {}
    if not finished:
        found["unfinished"] = "cut off at the token limit"
    if not text.strip():
        found["empty"] = "no text"
        return found
    if (share := repeated_share(text)) > REPEATED_SHARE:
        found["repetitive"] = f"{share:.2f} of its 4-grams are repeated"
    elif (ratio := compression(text)) < COMPRESSION:
        found["repetitive"] = f"compresses to {ratio:.2f}"
    if not rewriting and (share := containment(text, prompt)) > COPIED:
        found["copies_prompt"] = f"{share:.2f} of its 4-grams are the prompt's"
    for name, pattern in (("template_residue", _RESIDUE), ("control_characters", _CONTROL)):
        if match := pattern.search(text):
            found[name] = repr(match[0])[:60]
    if len(words(text)) <= REFUSAL_WORDS and (match := (refusing or refusals()).search(plain(text))):
        found["refusal"] = match[0][:80]
    if match := _SECRET.search(text):
        found["secret"] = f"at character {match.start()}"
    return found
