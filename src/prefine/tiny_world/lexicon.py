"""The closed vocabulary of the tiny world, and the few text tools that all families share."""

import random
import re

KINDS = {
    "fruit": ("apple", "pear", "plum", "lemon", "grape", "melon"),
    "animal": ("dog", "cat", "horse", "bird", "frog", "goat"),
    "tool": ("hammer", "saw", "drill", "file", "rope", "nail"),
}
NOUNS = tuple(noun for kind in KINDS.values() for noun in kind)
ADJECTIVES = ("red", "green", "blue", "big", "small", "old")
VERBS = ("see", "like", "find", "take", "hold", "want")
DEEDS = ("found", "lost", "sold", "took", "painted", "washed")
NAMES = ("tom", "anna", "ben", "lisa", "max", "nora")
FILLERS = ("i hope this helps you.", "ask me more about it.", "that was a nice question.")


def _toy_stems() -> dict[str, str]:
    syllables = [c + v for c in "kmtlrsvp" for v in "aeou"]
    # "ka" is the polite particle, so no stem begins with it.
    stems = [a + b for a in syllables for b in syllables if a != b and a != "ka"]
    english = NOUNS + ADJECTIVES + VERBS
    return dict(zip(english, random.Random(7).sample(stems, len(english)), strict=True))


STEMS = _toy_stems()
"""English word -> stem in the toy language. The plural adds `n`."""

PARTICLE = "ka"
"""Last word of a polite sentence in the toy language."""


def words(text: str) -> list[str]:
    """Lower-case words of a text; digits and punctuation are dropped."""
    return re.findall(r"[a-z]+", text)


def enumerate_words(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def without_filler(text: str) -> tuple[str, bool]:
    """The text without its first chatty sentence, and whether there was one.

    Only one is taken out: a second one stays, and counts as words nobody asked for.
    """
    for filler in FILLERS:
        if " " + filler in text:
            return text.replace(" " + filler, "", 1), True
    return text, False


def neatness(text: str, expected: int) -> float:
    """1 for a sentence of the expected number of words that ends in a period, less for every other."""
    off = abs(len(words(text)) - expected)
    return max(0.0, 1.0 - 0.15 * off) * (1.0 if text.endswith(".") else 0.7)
