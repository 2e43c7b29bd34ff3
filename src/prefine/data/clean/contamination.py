"""An index of evaluation sets by their n-grams: small, since it holds the sets and not the training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefine import recipe
from prefine.data.clean.text import ngrams, normal, words
from prefine.data.read import read_rows
from prefine.errors import PrefineError, nearest
from prefine.rundir import Counts

FEWEST_WORDS = 4
"""An item with fewer words is found only where a whole turn is equal to it."""


@dataclass(frozen=True)
class Item:
    """A text of an evaluation set."""

    id: str
    name: str
    words: tuple[str, ...]
    n: int
    """Words of the n-grams it is found by."""
    text: str = ""


@dataclass(frozen=True)
class Match:
    """An item found in a text: how (`exact`, `ngrams`, `contained`), the share of its words, and one n-gram."""

    item: Item
    how: str
    coverage: float
    ngram: str

    def evidence(self) -> dict[str, Any]:
        return {
            "eval": self.item.name,
            "eval_id": self.item.id,
            "how": self.how,
            "coverage": round(self.coverage, 4),
            "ngram": self.ngram,
        }


class Index:
    """The n-grams of all items. `matches` tells which items occur in a text."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.items: list[Item] = []
        self.sizes: Counter[str] = Counter()
        self._whole: dict[tuple[str, ...], list[int]] = {}
        self._grams: dict[int, dict[tuple[str, ...], list[tuple[int, int]]]] = {}
        for item in items:
            k = len(self.items)
            self.items.append(item)
            self.sizes[item.name] += 1
            self._whole.setdefault(item.words, []).append(k)
            n = min(item.n, len(item.words))
            if n >= FEWEST_WORDS:
                for at, gram in enumerate(ngrams(item.words, n)):
                    self._grams.setdefault(n, {}).setdefault(gram, []).append((k, at))

    def matches(self, text: str, threshold: float) -> list[Match]:
        """Items that are equal to the text, or of whose words more than `threshold` are in n-grams of the text.

        An item shorter than an n-gram must be contained as a whole. The best match comes first.
        """
        found_words = words(text)
        found = [Match(self.items[k], "exact", 1.0, text[:200]) for k in self._whole.get(tuple(found_words), [])]
        known = {m.item.id for m in found}
        covered: dict[int, set[int]] = {}
        example: dict[int, tuple[str, ...]] = {}
        for n, grams in self._grams.items():
            for gram in set(ngrams(found_words, n)) & grams.keys():
                for k, at in grams[gram]:
                    covered.setdefault(k, set()).update(range(at, at + n))
                    example[k] = min(example.get(k, gram), gram)
        for k, places in covered.items():
            item = self.items[k]
            share = len(places) / len(item.words)
            if share > threshold and item.id not in known:
                how = "contained" if len(item.words) <= item.n else "ngrams"
                found.append(Match(item, how, share, " ".join(example[k])))
        return sorted(found, key=lambda m: (m.how != "exact", -m.coverage, m.item.id))


def read_items(sets: list[dict[str, Any]], n: int, n_long: int, long: int) -> Iterator[Item]:
    """The items of evaluation sets `{path, fields, name, n}`, one for each field of each row that has words.

    `n` of a set, or else `n_long` for items of at least `long` words and `n` for others.
    """
    for entry in sets:
        name = str(entry.get("name") or Path(entry["path"]).name.split(".")[0])
        fields = [entry["fields"]] if isinstance(entry.get("fields"), str) else entry.get("fields")
        rows = 0
        for key, row in read_rows(recipe.Data(path=entry["path"]), Counts()):
            if not isinstance(row, dict):
                raise PrefineError(f"{entry['path']}: an evaluation set must have rows with named fields")
            rows += 1
            for field in fields or _text_fields(row):
                text = _text(row, field, entry["path"], key)
                found = tuple(words(text))
                if found:
                    size = entry.get("n") or (n_long if len(found) >= long else n)
                    yield Item(f"{name}/{key.rpartition('#')[2]}.{field}", name, found, int(size), text)
        if not rows:
            raise PrefineError(f"{entry['path']}: there are no rows in this evaluation set")


def _text_fields(row: dict[str, Any]) -> list[str]:
    return [k for k, v in row.items() if isinstance(v, str)]


def _text(row: dict[str, Any], field: str, path: str, key: str) -> str:
    """The text in a field: a string, or the user turns of messages."""
    if field not in row:
        raise PrefineError(f"{path}: row {key} has no field '{field}'{nearest(field, row)}")
    value = row[field]
    if isinstance(value, list):
        return "\n".join(str(m.get("content", "")) for m in value if isinstance(m, dict) and m.get("role") == "user")
    return normal(value, casefold=False) if isinstance(value, str) else ""
