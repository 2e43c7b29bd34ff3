"""Style of answers: tokens, headers, list items and bold spans, stored beside the answers or counted in their text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError, nearest
from prefine.evaluate.benchmarks.reading import Row, files_of, read_rows, stem

KEYS = ("token_len", "header_count", "list_count", "bold_count")
"""Tokens of tiktoken's gpt-4o encoding; markdown is counted outside fenced code."""

Style = tuple[float, float, float, float]

_FENCED = re.compile(r"```[^`]*```")
_COUNTED = {
    "header_count": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "list_count": re.compile(r"^\s*(?:\d+\.|[-*+])\s", re.MULTILINE),
    "bold_count": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}


def markdown_counts(text: str) -> dict[str, int]:
    """Headers, list items and bold spans of an answer, without what stands in fenced code."""
    plain = _FENCED.sub("``````", text)
    return {name: len(pattern.findall(plain)) for name, pattern in _COUNTED.items()}


def read(path: Path) -> dict[str, dict[str, Style]]:
    """By model and prompt: the four numbers of `KEYS`, from a file or folder of model answers of the tool."""
    out: dict[str, dict[str, Style]] = {}
    for row in read_rows(files_of(path)):
        model = str(row.get("model_id") or row.get("model") or stem(row.file)).split("/")[-1]
        out.setdefault(model, {})[str(row.need("question_id", "uid"))] = _style(row)
    return out


def of(styles: dict[str, dict[str, Style]], model: str, question: str, path: Path | None) -> Style:
    """The style of one answer, or an error that names what is missing."""
    if model not in styles:
        raise PrefineError(f"{path}: no answers of '{model}'{nearest(model, styles)}")
    if question not in styles[model]:
        raise PrefineError(f"{path}: no answer of '{model}' to prompt {question}")
    return styles[model][question]


def _style(row: Row) -> Style:
    stored = next((m for key in ("conv_metadata", "metadata") if isinstance(m := row.get(key), dict)), None)
    if stored is None:
        text = _text(row)
        counts: dict[str, Any] = {"token_len": _tokens(text, row), **markdown_counts(text)}
    else:
        counts = stored
    return tuple(_count(row, counts, key) for key in KEYS)  # type: ignore[return-value]


def _count(row: Row, counts: dict[str, Any], key: str) -> float:
    """A count, or the sum of its kinds (h1 to h6, ordered and unordered, ** and __)."""
    value = counts.get(key)
    parts: Sequence[Any] = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(p, int | float) and not isinstance(p, bool) for p in parts):
        row.wrong(f"metadata: '{key}' is wanted, a number or numbers by kind{nearest(key, counts)}")
    return float(sum(parts))


def _text(row: Row) -> str:
    """The answer's text in a v0.1 row (choices, turns) or a v2.0 row (messages)."""
    try:
        if "choices" in row:
            turn = row.values["choices"][0]["turns"][0]
            text = turn["content"] if isinstance(turn, dict) else turn
        else:
            content = row.values["messages"][-1]["content"]
            text = content["answer"] if isinstance(content, dict) else content
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        row.wrong("no style metadata ('conv_metadata' or 'metadata') and no answer's text to count in")
    return text


def _tokens(text: str, row: Row) -> int:
    try:
        import tiktoken  # pyright: ignore[reportMissingImports]
    except ImportError:
        row.wrong("no style metadata; counting tokens needs tiktoken (pip install tiktoken)")
    return len(tiktoken.encoding_for_model("gpt-4o").encode(text, disallowed_special=()))
