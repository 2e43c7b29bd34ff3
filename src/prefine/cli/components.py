"""`prefine list`: what there is to choose from, read from the sources of the components without importing them."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import typer

_LABEL = re.compile(r"^([A-Z][a-z]+): (.*)$")


@dataclass
class Description:
    """A component in a reader's words."""

    kind: str
    name: str
    what: str
    facts: dict[str, str] = field(default_factory=dict)
    """Formula, paper, defaults, columns ...: the labelled lines of the docstring."""
    settings: dict[str, str] = field(default_factory=dict)
    needs: str = ""
    gives: str = ""
    import_path: str = ""


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(help="objectives, labelers, formats, exporters or another kind; all without it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """List components with formula, paper, settings with their defaults, and needs."""
    from prefine.errors import PrefineError, nearest
    from prefine.registry import KINDS

    wanted = [kind] if kind else list(KINDS)
    if kind and kind not in KINDS:
        raise PrefineError(f"there is no kind of component '{kind}'{nearest(kind, KINDS)}")
    found = {k: descriptions(k) for k in wanted}
    if as_json:
        typer.echo(json.dumps({k: [asdict(d) for d in v] for k, v in found.items()}, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_tables(found, details=kind is not None)
    else:
        _print_plain(found, details=kind is not None)
    if kind is None and not as_json:
        typer.echo("\nprefine list KIND shows formula, paper, settings and needs.")


def descriptions(kind: str) -> list[Description]:
    """All components of a kind (`objectives`, ...), by name."""
    from prefine.registry import KINDS

    return [_describe(kind, entry) for entry in KINDS[kind].entries().values()]


def _describe(kind: str, entry: Any) -> Description:
    what, _, rest = entry.doc.partition("\n\n")
    facts: dict[str, str] = {}
    label = ""
    for line in rest.splitlines():
        match = _LABEL.match(line)
        if match:
            label = match[1].lower()
            facts[label] = match[2].strip()
        elif not line.strip():
            label = ""
        elif label:
            facts[label] += " " + line.strip()
    settings = {s.name: _setting(s) for s in entry.settings}
    needs = _needs(kind, entry.attributes) + ([facts.pop("needs")] if "needs" in facts else [])
    gives = facts.pop("gives", "") or _gives(kind, entry.attributes)
    path = f"{entry.module}:{entry.cls}"
    return Description(kind, entry.name, " ".join(what.split()), facts, settings, "; ".join(needs), gives, path)


def _setting(setting: Any) -> str:
    from prefine.component_source import COMPUTED, REQUIRED

    kind = setting.annotation or "any"
    if setting.default is REQUIRED:
        return f"{kind}, required"
    return kind if setting.default is COMPUTED else f"{kind} = {json.dumps(setting.default)}"


def _needs(kind: str, attributes: dict[str, Any]) -> list[str]:
    """What a component declares by its class attributes that it has to be given."""
    from prefine.type_words import shape, size_words

    out = [size_words(shape(attributes))] if kind == "objectives" else []
    if attributes.get("needs_reference"):
        out.append("the start model as reference")
    if attributes.get("coupled"):
        out.append("the whole batch at once")
    return [*out, "scores"] if attributes.get("needs_scores") else out


def _gives(kind: str, attributes: dict[str, Any]) -> str:
    from prefine.type_words import shape, size_words

    if kind == "pairers" and "group_size" in attributes:
        return size_words(shape(attributes))
    if kind == "exporters":
        return "the views " + ", ".join(attributes.get("views", ()))
    return str(attributes.get("tells", "")) if kind == "formats" else ""


def lines_of(description: Description) -> list[tuple[str, str]]:
    """The labelled lines under a component's name."""
    settings = ", ".join(f"{name}: {text}" for name, text in description.settings.items()) or "none"
    out = [*description.facts.items(), ("settings", settings)]
    return out + [(k, v) for k, v in (("needs", description.needs), ("gives", description.gives)) if v]


def _print_plain(found: dict[str, list[Description]], *, details: bool) -> None:
    for kind, items in found.items():
        typer.echo(f"{kind}:")
        width = max((len(d.name) for d in items), default=0) + 2
        for item in items:
            typer.echo(f"  {item.name:<{width}}{item.what}")
            for label, text in lines_of(item) if details else []:
                typer.echo(f"  {'':<{width}}{label}: {text}")


def _print_tables(found: dict[str, list[Description]], *, details: bool) -> None:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for kind, items in found.items():
        table = Table(title=kind, title_justify="left", show_header=False, show_lines=details, expand=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(ratio=1)
        for item in items:
            facts = Table.grid(padding=(0, 2))
            facts.add_column(style="dim", no_wrap=True)
            facts.add_column(ratio=1)
            for label, text in lines_of(item) if details else []:
                facts.add_row(label, Text(text))
            table.add_row(item.name, Group(Text(item.what), facts) if details else Text(item.what))
        console.print(table)
