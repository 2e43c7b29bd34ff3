"""What a component's source says about it, read with `ast`: nothing is imported, so nothing heavy is loaded."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prefine.errors import PrefineError

REQUIRED = object()
"""The default of a setting that has none."""
COMPUTED = object()
"""A default that is not a literal; only the constructor knows it."""


@dataclass
class Setting:
    """One argument of a constructor: its annotation as written and its default (`REQUIRED` without one)."""

    name: str
    annotation: str
    default: Any = REQUIRED


@dataclass
class Entry:
    """What is known of a component without importing it."""

    name: str
    module: str
    cls: str
    doc: str = ""
    aliases: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    constructor: ast.FunctionDef | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    parent: Entry | None = None

    def load(self) -> type:
        """Import the module and return the class."""
        return getattr(importlib.import_module(self.module), self.cls)

    def violations(self, values: dict[str, Any]) -> list[tuple[str, str]]:
        """What the constructor would refuse about `values`, as (setting, message).

        These are its `if ...: raise ValueError(...)` statements, also those of the constructor it calls by `super()`; a
        condition that needs more than the settings is left to the constructor itself.
        """
        return list(_violations(self, values))


def source_of(module: str) -> Path | None:
    """The file of a module, found without importing its parent packages; None if there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for location in spec.submodule_search_locations or []:
        base = Path(location, *rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.exists():
                return path
    return None


def modules_of(package: str) -> list[tuple[str, Path]]:
    """The modules directly inside a package, as (name, file)."""
    init = source_of(package)
    if init is None:
        return []
    files = sorted(p for p in init.parent.glob("*.py") if p.stem != "__init__")
    return [(f"{package}.{p.stem}", p) for p in files]


@functools.lru_cache(maxsize=256)
def parse(path: Path) -> ast.Module:
    """The syntax tree of a source file; a mistake in it is an error that names the line."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise PrefineError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error


def scan(module: str, path: Path) -> list[Entry]:
    """Every class of a source file, with its constructor; `name` is empty for those that are not registered."""
    tree = parse(path)
    constants = _literals(tree.body)
    entries: dict[str, Entry] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            entries[node.name] = _entry(node, module, constants, entries, tree)
    return list(entries.values())


def top_level_names(path: Path) -> set[str] | None:
    """The names a module defines or imports at its top level; None when they cannot be known from the source."""
    names: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {a.asname or a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return None if names & {"*", "__getattr__"} else names


def _entry(
    node: ast.ClassDef, module: str, constants: dict[str, Any], known: dict[str, Entry], tree: ast.Module
) -> Entry:
    name, *aliases = _registered_names(node) or [""]
    entry = Entry(name, module, node.name, ast.get_docstring(node) or "", aliases=aliases, constants=constants)
    entry.bases = [b.id for b in node.bases if isinstance(b, ast.Name)]
    entry.attributes = _literals(node.body)
    for base in [b for b in (_base(name, known, tree) for name in reversed(entry.bases)) if b]:
        entry.attributes = {**base.attributes, **entry.attributes}
        entry.settings, entry.constructor = base.settings, base.constructor
        entry.constants, entry.parent = base.constants, base.parent
    own = [s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"]
    if own:
        bases = [b for b in (_base(name, known, tree) for name in entry.bases) if b and b.constructor]
        entry.parent = bases[0] if bases else None
        entry.settings, entry.constructor, entry.constants = _settings(own[0]), own[0], constants
        if own[0].args.kwarg and entry.parent is not None:
            taken = {s.name for s in entry.settings} | _passed_by_name(own[0], entry.parent)
            entry.settings = entry.settings + [s for s in entry.parent.settings if s.name not in taken]
    elif any(isinstance(d, ast.Name) and d.id == "dataclass" for d in node.decorator_list):
        entry.settings = _fields(node)
    return entry


def _base(name: str, entries: dict[str, Entry], tree: ast.Module) -> Entry | None:
    if name in entries:
        return entries[name]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            return next((e for e in _scanned(node.module) if e.cls == name), None)
    return None


@functools.lru_cache(maxsize=256)
def _scanned(module: str) -> list[Entry]:
    """The classes of a module that others derive from; empty where its source cannot be found."""
    source = source_of(module)
    return scan(module, source) if source is not None and source.suffix == ".py" else []


def _registered_names(node: ast.ClassDef) -> list[str]:
    for d in node.decorator_list:
        if isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) and d.func.attr == "register":
            return [str(ast.literal_eval(a)) for a in d.args]
    return []


def _settings(function: ast.FunctionDef) -> list[Setting]:
    args = function.args.args[1:]
    defaults: list[ast.expr | None] = [None] * (len(args) - len(function.args.defaults))
    defaults += function.args.defaults
    pairs = [*zip(args, defaults, strict=True), *zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)]
    return [Setting(a.arg, ast.unparse(a.annotation) if a.annotation else "", _default(d)) for a, d in pairs]


def _passed_by_name(function: ast.FunctionDef, parent: Entry) -> set[str]:
    """The parent's settings that this constructor itself gives, beside those that it passes on by `**`."""
    for call in filter(None, map(_super_init, function.body)):
        positional = {s.name for s, _ in zip(parent.settings, call.args, strict=False)}
        return positional | {k.arg for k in call.keywords if k.arg}
    return set()


def _fields(node: ast.ClassDef) -> list[Setting]:
    return [
        Setting(s.target.id, ast.unparse(s.annotation), _default(s.value))
        for s in node.body
        if isinstance(s, ast.AnnAssign)
        and isinstance(s.target, ast.Name)
        and "ClassVar" not in ast.unparse(s.annotation)
    ]


def _default(node: ast.expr | None) -> Any:
    if node is None:
        return REQUIRED
    try:
        return ast.literal_eval(node)
    except ValueError:
        return COMPUTED


def _literals(body: list[ast.stmt]) -> dict[str, Any]:
    """Names that these statements set to literals."""
    out: dict[str, Any] = {}
    for s in body:
        target = s.targets[0] if isinstance(s, ast.Assign) else s.target if isinstance(s, ast.AnnAssign) else None
        value = getattr(s, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            try:
                out[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return out


_BUILTINS = {
    f.__name__: f for f in (abs, all, any, float, int, isinstance, len, max, min, round, set, sorted, str, sum)
}


def _violations(
    entry: Entry, values: dict[str, Any], attributes: dict[str, Any] | None = None
) -> Iterator[tuple[str, str]]:
    own = SimpleNamespace(**(entry.attributes if attributes is None else attributes))
    names = {**entry.constants, "math": math, "self": own, **values}
    for statement in entry.constructor.body if entry.constructor else []:
        refusal = _refusal(statement)
        if refusal is not None:
            test, message = refusal
            if _value(test, names) and (text := _value(message, names)):
                used = [n.id for n in ast.walk(test) if isinstance(n, ast.Name) and n.id in values]
                yield (used[0] if used else "name"), str(text)
        elif entry.parent is not None and (call := _super_init(statement)) is not None:
            expected = [s.name for s in entry.parent.settings]
            given = dict(zip(expected, (_value(a, names) for a in call.args), strict=False))
            given |= {k.arg: _value(k.value, names) for k in call.keywords if k.arg}
            if any(k.arg is None for k in call.keywords):
                given = {**{k: v for k, v in values.items() if k in expected}, **given}
            defaults = {s.name: s.default for s in entry.parent.settings if s.default not in (REQUIRED, COMPUTED)}
            found = _violations(entry.parent, {**defaults, **given}, vars(own))
            yield from ((k if k in values else "name", m) for k, m in found)


def _refusal(statement: ast.stmt) -> tuple[ast.expr, ast.expr] | None:
    """The condition and message of `if condition: raise ValueError(message)`."""
    if not (isinstance(statement, ast.If) and len(statement.body) == 1 and isinstance(statement.body[0], ast.Raise)):
        return None
    error = statement.body[0].exc
    if (
        isinstance(error, ast.Call)
        and isinstance(error.func, ast.Name)
        and error.func.id == "ValueError"
        and error.args
    ):
        return statement.test, error.args[0]
    return None


def _super_init(statement: ast.stmt) -> ast.Call | None:
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
        return call
    return None


def _value(expression: ast.expr, names: dict[str, Any]) -> Any:
    """The expression's value, or None where it needs names that only the running constructor has."""
    code = compile(ast.Expression(expression), "<constructor>", "eval")
    try:
        return eval(code, {"__builtins__": _BUILTINS, **names})
    except (NameError, TypeError, AttributeError, ValueError, KeyError, IndexError):
        return None
