"""JSON lines in the columns that prefine reads itself, and the columns of each view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from prefine.data.card import Facts
from prefine.data.export.base import MESSAGES, Row, Wish, finite, messages
from prefine.registry import exporters

_TEXT, _NUMBER = pa.string(), pa.float64()
_ENDS = [f"{side}_{end}" for side in ("initial", "revised") for end in ("start", "end")]
_OP = pa.struct(
    [("op", _TEXT), *((n, pa.int64()) for n in _ENDS), ("initial_weight", _NUMBER), ("revised_weight", _NUMBER)]
)


@exporters.register("jsonl")
class JSONLines:
    """JSON lines, train.jsonl and test.jsonl, with scores, writers and ids; `prefine data import` reads them again."""

    views: tuple[str, ...] = ("list", "pairs", "unpaired", "sft", "spans")

    def schema(self, wish: Wish) -> pa.Schema | None:
        return None

    def file(self, split: str, wish: Wish) -> str:
        return f"{split}.jsonl"

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        return columns_of(row, wish)

    def finish(self, folder: Path, wish: Wish, facts: Facts) -> None:
        pass


def schema_of(wish: Wish) -> pa.Schema:
    """The types of the columns of a view."""
    head = [("group_id", _TEXT), ("task", _TEXT), ("prompt", MESSAGES)]
    lists = [("responses", pa.list_(MESSAGES)), ("response_ids", pa.list_(_TEXT)), ("models", pa.list_(_TEXT))]
    scored = [(column(name), pa.list_(_NUMBER)) for name in wish.scorers]
    sides = [(side, MESSAGES) for side in ("chosen", "rejected")]
    about = [("score_chosen", _NUMBER), ("score_rejected", _NUMBER), ("chosen_id", _TEXT), ("rejected_id", _TEXT)]
    one = [("completion", MESSAGES), ("response_id", _TEXT)]
    edits = [("initial", MESSAGES), ("revised", MESSAGES), ("initial_id", _TEXT), ("revised_id", _TEXT)]
    tails = {"list": lists + scored, "pairs": sides + about, "unpaired": [*one, ("label", pa.bool_())], "sft": one}
    tails["spans"] = [*edits, ("ops", pa.list_(_OP))]
    return pa.schema(head + tails[wish.view])


def column(scorer: str) -> str:
    """The column of a scorer's values; the plain `score` is `scores`, as in the format `listwise`."""
    return "scores" if scorer == "score" else f"scores_{scorer}"


def columns_of(row: Row, wish: Wish) -> dict[str, Any]:
    """The row in the columns of `schema_of`."""
    out: dict[str, Any] = {"group_id": row.group_id, "task": row.task or None, "prompt": messages(row.prompt)}
    ids = row.candidate_ids if len(row.candidate_ids) == len(row.responses) else [None] * len(row.responses)
    if wish.view == "list":
        out |= {"responses": [messages(r) for r in row.responses], "response_ids": ids}
        out["models"] = row.models or [""] * len(row.responses)
        named = row.named or ({"score": list(row.scores)} if len(row.scores) == len(row.responses) else {})
        out |= {column(n): [finite(v) for v in named[n]] if n in named else None for n in wish.scorers}
    elif wish.view == "pairs":
        for i, side in enumerate(("chosen", "rejected")):
            out |= {side: messages(row.responses[i]), f"score_{side}": row.score(i), f"{side}_id": ids[i]}
    elif wish.view == "spans":
        for i, side in enumerate(("initial", "revised")):
            out |= {side: messages(row.responses[i]), f"{side}_id": ids[i]}
        out["ops"] = row.ops
    else:
        out |= {"completion": messages(row.responses[0]), "response_id": ids[0]}
        if wish.view == "unpaired":
            out["label"] = bool(row.labels[0])
    return out
