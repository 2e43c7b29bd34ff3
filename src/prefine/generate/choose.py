"""Which of a prompt's samples are kept: pure functions over texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from prefine.engines.chance import sample

How = Literal["maxmin", "first", "random"]


def choose(texts: Sequence[str], keep: int, how: How, *names: object) -> list[int]:
    """Places of the `keep` texts to keep, in the order of the texts; all of them where there are no more.

    `maxmin` spreads, `first` takes the first, `random` draws by a hash of `names`.
    """
    if len(texts) <= keep:
        return list(range(len(texts)))
    if how == "first":
        return list(range(keep))
    if how == "random":
        return sorted(sample(range(len(texts)), keep, *names))
    return sorted(farthest(texts, keep))


def farthest(texts: Sequence[str], keep: int, distance: Callable[[str, str], float] | None = None) -> list[int]:
    """The first text, then again and again the one whose nearest chosen text is farthest away; ties go to the first.

    What PAD does with more samples than it needs (arXiv:2502.14272).
    """
    measure = distance or edit_distance
    chosen, gap = [0], [measure(texts[0], text) for text in texts]
    while len(chosen) < min(keep, len(texts)):
        best = max((i for i in range(len(texts)) if i not in chosen), key=lambda i: (gap[i], -i))
        chosen.append(best)
        gap = [min(g, measure(texts[best], text)) for g, text in zip(gap, texts, strict=True)]
    return chosen


def edit_distance(a: str, b: str) -> float:
    """Levenshtein's distance between the words of two texts over the longer one's number of words: 0 to 1."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_distance(a.split(), b.split())
