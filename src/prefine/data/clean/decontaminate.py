"""Training prompts that hold the questions of an evaluation set."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefine.data.clean.base import Cleaner, Decided, Models, Row, Rows, drop, keep, need_models
from prefine.data.clean.contamination import Index, read_items
from prefine.data.clean.nearness import Near, near_items
from prefine.data.clean.rows import responses_of, user_turns
from prefine.registry import cleaners


@cleaners.register("decontaminate")
class Decontaminate(Cleaner):
    """Rows are dropped whose user turns hold an item of an evaluation set, which is given as a file with its fields.

    Only the sets are held in memory. The evidence names item, share and an n-gram; `--dry-run` drops nothing. With a
    model, rows that mean nearly the same as an item are flagged (`near_evaluation_item`), and stay.

    Formula: equal words; or more than `threshold` of an item's words in its n-grams that occur in one turn; an item
    of 4 to n words as a whole; flagged: cosine of a turn's and an item's vectors of at least `similarity`
    Paper: the 8-grams and 50 % of Tulu 3, Lambert et al. 2024 (arXiv:2411.15124)
    Defaults: against: a list of {path, fields: [question], name, n}; n 8, 13 for items of 200 words and more (or set
    n: 13 for a set of code); include_responses false, since answers quote common phrases; model: null compares no
    vectors, else a vector is the mean of its last hidden states
    """

    def __init__(
        self,
        against: list[dict],
        n: int = 8,
        n_long: int = 13,
        long: int = 200,
        threshold: float = 0.5,
        include_responses: bool = False,
        model: str | None = None,
        similarity: float = 0.9,
    ) -> None:
        if not against:
            raise ValueError(
                "against must name at least one evaluation set, as in [{path: test.jsonl, fields: [text]}]"
            )
        if not all(isinstance(entry.get("path"), str) for entry in against):
            raise ValueError("against: every evaluation set needs a path, as in {path: test.jsonl, fields: [question]}")
        if any(set(entry) - {"path", "fields", "name", "n"} for entry in against):
            raise ValueError("against: the keys of an evaluation set are path, fields, name and n")
        if not 4 <= n <= n_long:
            raise ValueError(f"n must be at least 4 and at most n_long, not {n}")
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and below 1, not {threshold}")
        if not 0 < similarity <= 1:
            raise ValueError(f"similarity must be above 0 and at most 1, not {similarity}")
        self.against, self.n, self.n_long, self.long = against, n, n_long, long
        self.threshold, self.include_responses = threshold, include_responses
        self.model, self.similarity = model, similarity
        self._near: dict[str, Near] = {}
        self._found: Counter[str] = Counter()
        self._flagged: Counter[str] = Counter()
        self._items: dict[str, set[str]] = {}
        self._rows = 0

    def prepare(self, models: Models | None) -> None:
        self._index = Index(read_items(self.against, self.n, self.n_long, self.long))
        self._models = models

    def fit(self, rows: Rows) -> None:
        if self.model is not None:
            models = need_models(self._models, "comparing meanings")
            texts = ((row, text) for row in rows for _, text in self._texts(row))
            self._near = near_items(texts, self._index.items, self.model, self.similarity, models)

    def _texts(self, row: Row) -> list[tuple[str, str]]:
        """What is compared, each with where it stands."""
        turns = [("prompt", text) for text in user_turns(row)]
        return turns + [("response", r.text) for r in responses_of(row)] if self.include_responses else turns

    def decide(self, row: Row) -> Decided:
        self._rows += 1
        matches = [(where, m) for where, text in self._texts(row) for m in self._index.matches(text, self.threshold)]
        if not matches:
            near = self._near.get(row.id)
            if near is None:
                return keep(row)
            self._flagged[near.item.name] += 1
            return keep(row, "near_evaluation_item", **near.evidence())
        for name in {m.item.name for _, m in matches}:
            self._found[name] += 1
        for _, m in matches:
            self._items.setdefault(m.item.name, set()).add(m.item.id)
        where, best = min(matches, key=lambda wm: (wm[1].how != "exact", -wm[1].coverage, wm[1].item.id, wm[0]))
        return drop("contaminated", where=where, **best.evidence())

    def facts(self) -> dict[str, Any]:
        sets = {
            name: {
                "items": size,
                "items_found": len(self._items.get(name, ())),
                "rows": self._found[name],
                "share_of_rows": round(self._found[name] / max(1, self._rows), 6),
                **({"rows_flagged": self._flagged[name]} if self.model is not None else {}),
            }
            for name, size in sorted(self._index.sizes.items())
        }
        return {"evaluation_sets": sets}
