"""How much responses repeat themselves and each other, without any reference."""

from __future__ import annotations

import zlib
from typing import Any

from prefine.data.clean.text import ngrams, words
from prefine.evaluate.metrics.base import Metric, Rows
from prefine.registry import metrics
from prefine.schema import Group


@metrics.register("distinct_n")
class DistinctN(Metric):
    """Share of different word n-grams among all, of each response and of all responses together.

    Formula: different n-grams / n-grams; words are lower-cased and without punctuation, signs of scripts without spaces
    are words. The value of all responses falls as there are more of them: compare equal numbers only
    Paper: Li et al. 2016 (arXiv:1510.03055)
    Defaults: n: 2; responses with fewer than n words have no value
    Needs: nothing
    """

    def __init__(self, n: int = 2, as_name: str = "distinct_n") -> None:
        if n < 1:
            raise ValueError(f"n must be 1 or more, not {n}")
        self.n, self.name = n, as_name

    def score(self, group: Group, response: str) -> float | None:
        grams = ngrams(words(response), self.n)
        return len(set(grams)) / len(grams) if grams else None

    def facts(self) -> dict[str, Any]:
        return {"n": self.n}

    def corpus(self, rows: Rows) -> dict[str, Any] | None:
        """Without an interval: drawing responses twice would repeat n-grams that nobody repeated."""
        total, seen = 0, set()
        for _, texts in rows:
            for text in texts:
                grams = ngrams(words(text), self.n)
                total += len(grams)
                seen.update(grams)
        if not total:
            return None
        return {"value": len(seen) / total, "low": None, "high": None, "n": len(rows), "ngrams": total}


@metrics.register("repetition")
class Repetition(Metric):
    """Share of a response's word n-grams that occurred in it before; 0 is none. High values are loops.

    Formula: 1 - different n-grams / n-grams, words as in distinct_n; a response with fewer than n words repeats nothing
    Paper: Welleck et al. 2020 (arXiv:1908.04319), seq-rep-n
    Defaults: n: 4
    Needs: nothing
    """

    higher_is_better = False

    def __init__(self, n: int = 4, as_name: str = "repetition") -> None:
        if n < 1:
            raise ValueError(f"n must be 1 or more, not {n}")
        self.n, self.name = n, as_name

    def score(self, group: Group, response: str) -> float | None:
        grams = ngrams(words(response), self.n)
        return 1 - len(set(grams)) / len(grams) if grams else 0.0

    def facts(self) -> dict[str, Any]:
        return {"n": self.n}


@metrics.register("compression")
class Compression(Metric):
    """How many times smaller zlib makes a response, and all responses together; more is more repetitive.

    Formula: bytes / bytes after zlib (level 6) of the UTF-8 text; of all responses: one after the other, a line break
    between two. Short texts grow, so compare responses of about one length
    Paper: Shaib et al. 2024 (arXiv:2403.00553)
    Needs: nothing
    """

    def __init__(self, as_name: str = "compression") -> None:
        self.name = as_name

    def score(self, group: Group, response: str) -> float | None:
        return compression_ratio(response) if response else None

    def corpus(self, rows: Rows) -> dict[str, Any] | None:
        """Without an interval, for the same reason as distinct_n."""
        text = "\n".join(t for _, texts in rows for t in texts)
        if not text.strip():
            return None
        return {"value": compression_ratio(text), "low": None, "high": None, "n": len(rows)}


def compression_ratio(text: str) -> float:
    """Bytes of a text over its bytes after zlib."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data, 6))
