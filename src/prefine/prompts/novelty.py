"""Is a text new? ROUGE-L against all texts that are there, without comparing it with all of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from prefine.data.clean.text import normal, words


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """ROUGE-L F1 of two lists of words: 2 LCS / (|a| + |b|) (Lin 2004); 0 if one is empty."""
    from rapidfuzz.distance import LCSseq

    return 2 * LCSseq.similarity(list(a), list(b)) / (len(a) + len(b)) if a and b else 0.0


class Known:
    """Texts with their ids; finds the nearest one if it is nearer than a bound.

    A common subsequence of more than t/2 (m + n) words holds more than t m / (2 - t) of the m words of a text, so one
    of any m - floor(t m / (2 - t)) of its words is in every text that is that near. The rarest are looked up.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._exact: dict[str, str] = {}
        self._texts: list[tuple[str, list[str]]] = []
        self._with: dict[str, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, name: str, text: str) -> None:
        """Make a text known under a name."""
        place, tokens = len(self._texts), words(text)
        self._exact.setdefault(normal(text), name)
        self._texts.append((name, tokens))
        for word in set(tokens):
            self._with[word].append(place)

    def same(self, text: str) -> str | None:
        """The name of a text that reads the same, or None."""
        return self._exact.get(normal(text))

    def near(self, text: str) -> tuple[str, float] | None:
        """The name of the text with the greatest ROUGE-L above the bound, the first of equals; or None."""
        tokens, best = words(text), None
        for place in sorted(self._candidates(tokens)):
            name, other = self._texts[place]
            shorter, longer = sorted((len(tokens), len(other)))
            if 2 * shorter <= self.bound * (shorter + longer):
                continue
            likeness = rouge_l(tokens, other)
            if likeness > self.bound and (best is None or likeness > best[1]):
                best = name, likeness
        return best

    def _candidates(self, tokens: list[str]) -> set[int]:
        m = len(tokens)
        wanted = m - math.floor(self.bound * m / (2 - self.bound) + 1e-9)
        # A word counts as often as it stands there, as it does in the subsequence.
        rare = sorted(Counter(tokens).elements(), key=lambda w: (len(self._with.get(w, ())), w))[:wanted]
        return {place for word in set(rare) for place in self._with.get(word, ())}
