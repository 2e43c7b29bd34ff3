"""Text as cleaning compares it: one spelling for what reads the same, its words, and its shingles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana and Han. Each sign counts as a word."""
_WORD = re.compile(rf"[{NO_SPACES}]|[^\W{NO_SPACES}]+")
_TOKEN = re.compile(rf"[{NO_SPACES}]|[^\W{NO_SPACES}]+|[-+*/=<>^%]")

SHINGLE = 5
FEW_WORDS = 8
"""Below this many words the shingles are of characters."""
TOO_FEW_WORDS = 5
"""Below this many words a text is near only to an equal one."""


def normal(text: str, casefold: bool = True) -> str:
    """The text in NFKC, without case, every run of white space one space."""
    text = unicodedata.normalize("NFKC", text)
    return " ".join((text.casefold() if casefold else text).split())


def words(text: str) -> list[str]:
    """The words of a normal text, without punctuation; in scripts without spaces every sign is one."""
    return _WORD.findall(normal(text))


def shingles(text: str) -> set[str]:
    """The 5-grams of a text's words and arithmetic signs; of its characters if there are 5 to 7 words.

    With fewer words the whole text is its only shingle: such texts are near only if they are equal.
    """
    plain = normal(text)
    n = len(_WORD.findall(plain))
    if n < TOO_FEW_WORDS:
        return {plain}
    if n < FEW_WORDS:
        return {plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1))}
    tokens = _TOKEN.findall(plain)
    return {" ".join(tokens[i : i + SHINGLE]) for i in range(len(tokens) - SHINGLE + 1)}


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` tokens, from the first on; none where there are fewer."""
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))
