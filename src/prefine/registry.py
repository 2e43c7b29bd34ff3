"""Component names to classes, and what a class's constructor accepts, read without importing it.

A component block of a recipe is `{name: dpo, beta: 0.1}`. The name is a registered one, an import path
`my_package.losses:MyLoss`, or the name of an entry point in the group `prefine.<kind>s`. The constructor's typed
arguments are its settings. They are read from the source, so that checking a recipe imports neither torch nor the
component.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, Literal, TypeVar

import pydantic

from prefine.component_source import COMPUTED, REQUIRED, Entry, Setting, modules_of, scan, source_of
from prefine.errors import PrefineError, nearest
from prefine.type_words import mismatch

T = TypeVar("T", bound=type)


class Registry:
    """The components of one kind: classes decorated with `register(name)` in modules directly inside `packages`."""

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind, self.packages = kind, packages
        self._entries: dict[str, Entry] | None = None

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Mark a class as the component `name`, which other tools call by its aliases.

        The mark is also what the source reader looks for.
        """

        def mark(cls: T) -> T:
            cls.component_name = name  # type: ignore[attr-defined]
            return cls

        return mark

    def entries(self) -> dict[str, Entry]:
        """All built-in components, by name."""
        if self._entries is None:
            found: dict[str, Entry] = {}
            mark = f"@{self.kind}s.register("
            for module, path in [m for package in self.packages for m in modules_of(package)]:
                if mark not in path.read_text(encoding="utf-8"):
                    continue
                for entry in scan(module, path):
                    if entry.name:
                        found[entry.name] = entry
            self._entries = dict(sorted(found.items()))
        return self._entries

    def find(self, name: str) -> Entry:
        """The component called `name`; an unknown one is an error with the nearest valid name."""
        aliases = {alias: entry for entry in self.entries().values() for alias in entry.aliases}
        if name in self.entries() or name in aliases:
            return self.entries().get(name) or aliases[name]
        if ":" in name:
            return self._from_path(name)
        for point in metadata.entry_points(group=f"prefine.{self.kind}s"):
            if point.name == name:
                return self._from_path(point.value)
        known = [*self.entries(), *aliases, *(p.name for p in metadata.entry_points(group=f"prefine.{self.kind}s"))]
        raise PrefineError(f"unknown {self.kind} '{name}'{nearest(name, known)}")

    def _from_path(self, path: str) -> Entry:
        module, _, cls = path.partition(":")
        source = source_of(module)
        if source is None:
            raise PrefineError(f"{self.kind} '{path}': there is no module '{module}' (is it on PYTHONPATH?)")
        scanned = scan(module, source)
        for entry in scanned:
            if entry.cls == cls:
                entry.name = path
                return entry
        raise PrefineError(
            f"{self.kind} '{path}': no class '{cls}' in {module}{nearest(cls, [e.cls for e in scanned])}"
        )

    def check(self, block: dict[str, Any]) -> dict[str, Any]:
        """The block's settings, checked against the constructor and completed with its defaults (name included)."""
        settings, problems = self.inspect(block)
        if problems:
            raise problems[0]
        return settings

    def inspect(self, block: dict[str, Any]) -> tuple[dict[str, Any], list[SettingError]]:
        """The completed settings of `block`, and every mistake in it."""
        try:
            entry = self._named(block.get("name"))
        except PrefineError as error:
            return dict(block), [SettingError("name", str(error))]
        known = {s.name: s for s in entry.settings}
        problems = [
            SettingError(key, f"{self.kind} '{entry.name}' has no setting '{key}'{nearest(key, known)}")
            for key in block
            if key != "name" and key not in known
        ]
        out: dict[str, Any] = {"name": entry.name}
        for setting in entry.settings:
            try:
                if setting.name in block:
                    out[setting.name] = _coerce(self.kind, entry, setting, block[setting.name])
                elif setting.default is REQUIRED:
                    raise SettingError("name", f"{self.kind} '{entry.name}' needs the setting '{setting.name}'")
                elif setting.default is not COMPUTED:
                    out[setting.name] = setting.default
            except SettingError as problem:
                problems.append(problem)
        if not problems:
            problems = [
                SettingError(key, f"{self.kind} '{entry.name}': {message}") for key, message in entry.violations(out)
            ]
        return out, problems

    def _named(self, name: Any) -> Entry:
        if not isinstance(name, str):
            example = next(iter(self.entries()), "...")
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise PrefineError(f"{article} {self.kind} needs a name, as in {{name: {example}}}")
        return self.find(name)

    def build(self, block: dict[str, Any], **given: Any) -> Any:
        """An instance made with the block's settings; `given` are arguments that no recipe sets."""
        checked = self.check(block)
        cls = self.find(checked.pop("name")).load()
        try:
            return cls(**checked, **given)
        except ValueError as error:
            raise PrefineError(f"{self.kind} '{block['name']}': {error}") from error


class SettingError(PrefineError):
    """A wrong key or value inside a component block; `key` names it so that the recipe can add file and line."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


_NAMES: dict[str, Any] = {
    "float": float,
    "int": int,
    "str": str,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "Literal": Literal,
    "None": None,
    "Any": Any,
}


def _coerce(kind: str, entry: Entry, setting: Setting, value: Any) -> Any:
    """The value as the setting's annotation wants it; annotations that need imports are left to the constructor."""
    try:
        wanted = eval(setting.annotation, {"__builtins__": {}}, _NAMES) if setting.annotation else Any
    except (NameError, TypeError, SyntaxError):
        return value
    try:
        return pydantic.TypeAdapter(wanted, config=pydantic.ConfigDict(strict=True)).validate_python(value)
    except pydantic.ValidationError as error:
        text = f"{kind} '{entry.name}': {setting.name} {mismatch(wanted, value)}"
        raise SettingError(setting.name, text) from error


generators = Registry("generator", "prefine.generate")
labelers = Registry("labeler", "prefine.label")
pairers = Registry("pairer", "prefine.pair")
objectives = Registry("objective", "prefine.objectives")
metrics = Registry("metric", "prefine.evaluate", "prefine.evaluate.metrics")
benchmarks = Registry("benchmark", "prefine.evaluate.judged")
formats = Registry("format", "prefine.data.formats")
exporters = Registry("exporter", "prefine.data.export")
engines = Registry("engine", "prefine.engines")
makers = Registry("maker", "prefine.prompts")
cleaners = Registry("cleaner", "prefine.data.clean")

KINDS: dict[str, Registry] = {
    r.kind + "s": r
    for r in (
        engines,
        makers,
        generators,
        labelers,
        pairers,
        objectives,
        metrics,
        benchmarks,
        formats,
        exporters,
        cleaners,
    )
}
"""Every registry by the plural that the command line and the docs use."""
