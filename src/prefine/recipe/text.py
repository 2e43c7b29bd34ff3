"""YAML 1.2 with line numbers: the values of a file, where each key stands, and what is wrong with it.

PyYAML composes the document; scalars are read by the core schema of YAML 1.2, in which `5e-7` is a number and `yes`,
`on`, `1_000` and `2024-01-01` are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

from prefine.errors import PrefineError

Path = tuple[str | int, ...]
"""Where a value stands: keys of mappings and indices of lists, from the top."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = [
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
]
_PATTERNS = {name: pattern for name, pattern, _ in _SCALARS}


class _Loader(yaml.SafeLoader):
    """Only composes: its resolvers are those of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as something else, and escapes what cannot be printed."""

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar(_TAG + "str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)

for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)


@dataclass
class Problem:
    """A mistake: where (path and line, None for an override), and what to do about it."""

    path: Path
    line: int | None
    message: str


@dataclass
class Document:
    """The values of a file, the line of each path, the keys written without a value, and the mistakes found."""

    data: Any = None
    lines: dict[Path, int | None] = field(default_factory=dict)
    empty: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    earlier: list[str] | None = None
    """The variants that come before the one whose keys are set; None before any are."""

    def line(self, path: Path) -> int | None:
        """The line of the nearest written ancestor of `path`, None when an override put it there."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1

    def add(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, self.line(path), message))


def parse(text: str, where: str) -> Document:
    """Read YAML text. Syntax errors raise at once, since nothing after them can be trusted; `where` names the file."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        detail = ", ".join(t for t in (error.context, error.problem) if t)
        hint = "; indent with spaces" if "'\\t'" in detail else ""
        raise PrefineError(f"{place}: not valid YAML: {detail}{hint}") from error
    except yaml.YAMLError as error:
        raise PrefineError(f"{where}: not valid YAML: {error}") from error
    document = Document(lines={(): 1})
    if node is not None:
        document.data = _construct(node, (), document, frozenset())
    return document


def parse_value(text: str, path: Path, document: Document) -> Any:
    """Read the value of an override (YAML flow style: `5e-7`, `[a, b]`, `{name: simpo}`)."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        document.add(path, f"the value {text!r} is not valid YAML; quote it, as in {path[-1]}='\"{text}\"'")
        return None
    inner = Document(lines={(): None})
    value = None if node is None else _construct(node, (), inner, frozenset())
    for problem in inner.problems:
        document.add(path + problem.path, problem.message)
    return value


def at(data: Any, *keys: str | int) -> Any:
    """The value at a path, or None where the path leads nowhere."""
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def items(data: Any, *keys: str | int) -> list[Any]:
    """The list at a path, empty where there is none."""
    value = at(data, *keys)
    return value if isinstance(value, list) else []


def matches(data: Any, pattern: tuple[str, ...]) -> Iterator[Path]:
    """The paths in `data` that fit a pattern in which `*` stands for every index of a list."""
    if not pattern:
        yield ()
        return
    first, rest = pattern[0], pattern[1:]
    keys: list[str | int] = []
    if first == "*" and isinstance(data, list):
        keys = list(range(len(data)))
    elif first != "*" and isinstance(data, dict) and first in data:
        keys = [first]
    for key in keys:
        yield from ((key, *tail) for tail in matches(at(data, key), rest))


def dump(value: Any) -> str:
    """YAML text that this module, and readers of YAML 1.1, read back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _construct(node: yaml.Node, path: Path, document: Document, parents: frozenset[int]) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in parents:
        document.add(path, "this alias contains itself")
        return None
    inside = parents | {id(node)}
    if not isinstance(node, yaml.ScalarNode) and node.tag not in (_TAG + "map", _TAG + "seq"):
        document.add(path, f"the tag '{node.tag.replace(_TAG, '!!')}' does not fit here; write a plain value")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, inside)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*path, i), document, inside) for i, item in enumerate(node.value)]
    return _scalar(node, path, document)


def _mapping(node: yaml.MappingNode, path: Path, document: Document, parents: frozenset[int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    first_lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem(path, line, "a key must be a word, not a list or a mapping"))
            continue
        key = str(key_node.value)
        if key in out:
            text = f"duplicate key; it is already set on line {first_lines[key]}"
            document.problems.append(Problem((*path, key), line, text))
            continue
        first_lines[key] = line
        document.lines[(*path, key)] = line
        if isinstance(value_node, yaml.ScalarNode) and value_node.value == "" and value_node.style is None:
            document.empty.add((*path, key))
        out[key] = _construct(value_node, (*path, key), document, parents)
    return out


def _scalar(node: yaml.Node, path: Path, document: Document) -> Any:
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        return text
    if kind not in _PATTERNS or not _PATTERNS[kind].match(text):
        document.add(path, f"the tag '{node.tag.replace(_TAG, '!!')}' does not fit here; write a plain value")
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        document.add(path, f"must be a finite number, not {text}")
    return value
