"""The layout of a data set on the Hugging Face hub: Parquet files below data/ and a data card."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from prefine.data.card import Facts, card
from prefine.data.export.base import Wish
from prefine.data.export.jsonl import JSONLines, schema_of
from prefine.registry import exporters


@exporters.register("hub")
class Hub(JSONLines):
    """Parquet below data/, one file per split, and README.md, a data card with sources, judges and filters."""

    def schema(self, wish: Wish) -> pa.Schema:
        return schema_of(wish)

    def file(self, split: str, wish: Wish) -> str:
        return f"data/{split}-00000-of-00001.parquet"

    def finish(self, folder: Path, wish: Wish, facts: Facts) -> None:
        (folder / "README.md").write_text(card(facts, wish.name, wish.view), encoding="utf-8")
