"""Texts that mean nearly what an item of an evaluation set means, by vectors of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from prefine.data.clean.base import Models, Row
from prefine.data.clean.budget import unit
from prefine.data.clean.contamination import Item
from prefine.data.clean.vectors import AT_ONCE


@dataclass(frozen=True)
class Near:
    """The item that is nearest to a text of a row, with the cosine between the two."""

    item: Item
    similarity: float

    def evidence(self) -> dict[str, Any]:
        return {"eval": self.item.name, "eval_id": self.item.id, "similarity": round(self.similarity, 4)}


def near_items(
    texts: Iterable[tuple[Row, str]], items: list[Item], model: str, least: float, models: Models
) -> dict[str, Near]:
    """For the id of each row with such a text the nearest item, where the cosine is at least `least`.

    texts: rows with one text of theirs at a time; they are streamed, and the items' vectors are held.
    """
    known = np.concatenate([vectors for _, vectors in _embedded(((None, i.text) for i in items), model, models)])
    found: dict[str, Near] = {}
    for rows, vectors in _embedded(((row.id, text) for row, text in texts), model, models):
        cosines = vectors @ known.T
        for row_id, place, value in zip(rows, cosines.argmax(1), cosines.max(1), strict=True):
            if value >= least and (row_id not in found or value > found[row_id].similarity):
                found[row_id] = Near(items[int(place)], float(value))
    return found


def _embedded(texts: Iterable[tuple[Any, str]], model: str, models: Models) -> Iterator[tuple[list[Any], np.ndarray]]:
    """What stands beside the texts, and their vectors of length 1, some hundred at a time."""
    left = iter(texts)
    while part := list(islice(left, AT_ONCE)):
        yield [beside for beside, _ in part], unit(models.embed(model, [text for _, text in part]).astype(np.float64))
