"""Types in a reader's words, for messages about values of the wrong one."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

import pydantic

from prefine.errors import nearest

_WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}


def expected(wanted: Any) -> str:
    """`float | None` as `a number or null`, `Literal["a", "b"]` as `one of 'a', 'b'`, and so on."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Annotated:
        return expected(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(expected(a) for a in arguments))
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in arguments)
    if wanted is list or origin is list:
        return f"a list, each item {expected(arguments[0])}" if arguments else "a list"
    if wanted is dict or origin is dict:
        plain = not arguments or arguments[1] is Any
        return "a mapping (key: value)" if plain else f"a mapping (key: value), each value {expected(arguments[1])}"
    if isinstance(wanted, type) and issubclass(wanted, pydantic.BaseModel):
        return "a section (key: value)"
    return _WORDS.get(wanted, str(getattr(wanted, "__name__", wanted)))


def shown(value: Any) -> str:
    """The value as a reader of the file knows it: `the text '5e-7'`, `true`, `3.5`, `a list`."""
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else repr(value)


def mismatch(wanted: Any, value: Any) -> str:
    """`must be a number, not the text '5e-7'; remove the quotes`, with the nearest choice where there are choices."""
    text = f"must be {expected(wanted)}, not {shown(value)}"
    if isinstance(value, str):
        choices = [
            str(c) for part in _parts(wanted) if typing.get_origin(part) is Literal for c in typing.get_args(part)
        ]
        if choices:
            hint = nearest(value, choices)
            return text + (hint if hint.startswith("; did") else "")
        if _reads_as(wanted, value):
            return text + "; remove the quotes"
    if isinstance(value, (bool, int, float)) and str in _parts(wanted):
        return text + "; put it in quotes"
    return text


def shape(attributes: dict[str, Any]) -> int | str | None:
    """What an objective takes, or a pairer gives: a number of responses, None for lists, `labels` for single ones."""
    return "labels" if attributes.get("needs_labels") or attributes.get("labels") else attributes.get("group_size", 2)


def size_words(wanted: int | str | None) -> str:
    """A `shape` in words."""
    words = {None: "ranked lists", 1: "single responses", 2: "pairs", "labels": "responses with a label"}
    return words.get(wanted, f"groups of {wanted}")


def _parts(wanted: Any) -> tuple[Any, ...]:
    if typing.get_origin(wanted) is typing.Annotated:
        return _parts(typing.get_args(wanted)[0])
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return tuple(p for a in typing.get_args(wanted) for p in _parts(a))
    return (wanted,)


def _reads_as(wanted: Any, text: str) -> bool:
    """Whether the text would be a value of the wanted type without its quotes."""
    parts = _parts(wanted)
    try:
        if float in parts:
            float(text)
            return True
        if int in parts:
            int(text)
            return True
    except ValueError:
        return False
    return bool in parts and text.lower() in ("true", "false")
