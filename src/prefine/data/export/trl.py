"""TRL's columns: explicit prompts as messages, never a prompt that has to be guessed from both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from prefine.data.card import Facts
from prefine.data.export.base import MESSAGES, Row, Wish, messages
from prefine.registry import exporters

_TEXT = pa.string()


@exporters.register("trl")
class TRL:
    """TRL preference rows (DPO, CPO, ORPO): prompt, chosen, rejected as messages, in train.parquet and test.parquet."""

    views: tuple[str, ...] = ("pairs",)

    def schema(self, wish: Wish) -> pa.Schema:
        ids = [("task", _TEXT), ("chosen_id", _TEXT), ("rejected_id", _TEXT)] if wish.with_ids else []
        return pa.schema([("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES), *ids])

    def file(self, split: str, wish: Wish) -> str:
        return f"{split}.parquet"

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        ids: dict[str, str] = dict(zip(("chosen_id", "rejected_id"), row.candidate_ids, strict=False))
        sides = {side: messages(r) for side, r in zip(("chosen", "rejected"), row.responses, strict=True)}
        return {"prompt": messages(row.prompt), **sides, **_ids(row, wish, ids)}

    def finish(self, folder: Path, wish: Wish, facts: Facts) -> None:
        pass


@exporters.register("trl_unpaired")
class TRLUnpaired(TRL):
    """TRL unpaired preference rows (KTO): prompt, completion as messages, and a boolean label."""

    views = ("unpaired",)

    def schema(self, wish: Wish) -> pa.Schema:
        ids = [("task", _TEXT), ("response_id", _TEXT)] if wish.with_ids else []
        return pa.schema([("prompt", MESSAGES), ("completion", MESSAGES), ("label", pa.bool_()), *ids])

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        return {**_completion(row, wish), "label": bool(row.labels[0])}


@exporters.register("trl_sft")
class TRLSFT(TRL):
    """TRL prompt-completion rows (SFT): prompt, completion as messages."""

    views = ("sft",)

    def schema(self, wish: Wish) -> pa.Schema:
        ids = [("task", _TEXT), ("response_id", _TEXT)] if wish.with_ids else []
        return pa.schema([("prompt", MESSAGES), ("completion", MESSAGES), *ids])

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        return _completion(row, wish)


def _completion(row: Row, wish: Wish) -> dict[str, Any]:
    ids: dict[str, str] = dict(zip(("response_id",), row.candidate_ids, strict=False))
    return {"prompt": messages(row.prompt), "completion": messages(row.responses[0]), **_ids(row, wish, ids)}


def _ids(row: Row, wish: Wish, ids: dict[str, str]) -> dict[str, Any]:
    return {"task": row.task or None, **ids} if wish.with_ids else {}
