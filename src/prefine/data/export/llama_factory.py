"""LLaMA-Factory's ShareGPT-like files with their entry in dataset_info.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefine.data.card import Facts
from prefine.data.export.base import Row, Wish, messages, single
from prefine.registry import exporters
from prefine.schema import Message

ROLES = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
PREFERENCE = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "system_tag": "system",
}


@exporters.register("llama_factory")
class LlamaFactory:
    """LLaMA-Factory: conversations with chosen and rejected (pairs), messages with label (KTO), messages (SFT).

    NAME_train.jsonl and NAME_test.jsonl, and dataset_info.json, whose entries belong into LLaMA-Factory's own.
    """

    views: tuple[str, ...] = ("pairs", "unpaired", "sft")

    def schema(self, wish: Wish) -> None:
        return None

    def file(self, split: str, wish: Wish) -> str:
        return f"{wish.name}_{split}.jsonl"

    def row(self, row: Row, wish: Wish) -> dict[str, Any]:
        if wish.view == "pairs":
            turns = [_turn(m) for m in row.prompt]
            sides = {
                s: {"from": "gpt", "value": single(r)}
                for s, r in zip(("chosen", "rejected"), row.responses, strict=True)
            }
            return {"conversations": turns, **sides}
        out: dict[str, Any] = {"messages": messages([*row.prompt, *row.responses[0]])}
        return {**out, "label": bool(row.labels[0])} if wish.view == "unpaired" else out

    def finish(self, folder: Path, wish: Wish, facts: Facts) -> None:
        entries = {f"{wish.name}_{split}": _entry(self.file(split, wish), wish.view) for split in facts.rows}
        (folder / "dataset_info.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def _entry(file: str, view: str) -> dict[str, Any]:
    if view == "pairs":
        return {"file_name": file, "ranking": True, "formatting": "sharegpt", "columns": PREFERENCE}
    columns = {"messages": "messages", **({"kto_tag": "label"} if view == "unpaired" else {})}
    return {"file_name": file, "formatting": "sharegpt", "columns": columns, "tags": OPENAI_TAGS}


def _turn(message: Message) -> dict[str, str]:
    return {"from": ROLES[message["role"]], "value": message["content"]}
