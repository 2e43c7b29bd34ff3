"""The columns of UltraFeedback binarized, which the alignment handbook trains Zephyr on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from prefine.data.card import Facts, card
from prefine.data.export.base import MESSAGES, Row, Wish, messages
from prefine.registry import exporters

_ENDS = {"pairs": "prefs", "sft": "sft"}


@exporters.register("alignment_handbook")
class AlignmentHandbook:
    """The alignment handbook's columns, whole conversations on both sides; splits train_prefs, test_prefs (or _sft)."""

    views: tuple[str, ...] = ("pairs", "sft")

    def schema(self, wish: Wish) -> pa.Schema:
        text, number = pa.string(), pa.float64()
        sides = [("chosen", MESSAGES), ("rejected", MESSAGES)] if wish.view == "pairs" else []
        scores = [("score_chosen", number), ("score_rejected", number)] if wish.view == "pairs" else []
        return pa.schema([("prompt", text), ("prompt_id", text), *sides, ("messages", MESSAGES), *scores])

    def file(self, split: str, wish: Wish) -> str:
        return f"data/{split}_{_ENDS[wish.view]}-00000-of-00001.parquet"

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        first = next((m["content"] for m in row.prompt if m["role"] == "user"), row.prompt[0]["content"])
        sides = [messages([*row.prompt, *response]) for response in row.responses]
        out: dict[str, Any] = {"prompt": first, "prompt_id": row.group_id, "messages": sides[0]}
        if wish.view == "pairs":
            out |= {"chosen": sides[0], "rejected": sides[1]}
            out |= {"score_chosen": row.score(0), "score_rejected": row.score(1)}
        return out

    def finish(self, folder: Path, wish: Wish, facts: Facts) -> None:
        text = card(facts, wish.name, wish.view, splits={s: f"{s}_{_ENDS[wish.view]}" for s in facts.rows})
        (folder / "README.md").write_text(text, encoding="utf-8")
