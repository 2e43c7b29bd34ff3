"""Writes the pages of docs/ that are made from the code: the keys of a recipe, and the components.

`python scripts/make_docs.py` writes them, `--check` only says whether they are up to date (exit code 1 if not).
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from prefine.cli.components import descriptions, lines_of
from prefine.recipe import COMPONENTS, STAGES, Recipe, Section
from prefine.registry import KINDS
from prefine.type_words import expected

DOCS = Path(__file__).resolve().parents[1] / "docs"

RECIPES_HEAD = """\
# Recipes

<!-- made by scripts/make_docs.py from src/prefine/recipe.py; change the docstrings there -->

A recipe is one YAML file. Only `name`, `model` and `data` are needed; every stage that it names is run, in the order
of this page. A stage named without keys (`report:`) has its defaults, `report: null` means that there is none.

```yaml
name: my-run
model: {path: tiny-student}
data: {path: prompts.jsonl}
generate: {num_responses: 4}
label: {labelers: [{name: likelihood, model: tiny-teacher}]}
pair: {pairer: {name: best_worst}}
train: {objective: {name: dpo, beta: 0.1}, learning_rate: 5e-7}
evaluate:
report:
```

- **Numbers** are those of YAML 1.2: `5e-7`, `1e3` and `.5` are numbers; `yes`, `no`, `on`, `off` and dates are text.
  A quoted `"5e-7"` is text, and an error where a number is wanted. NaN and infinity are refused everywhere.
- **Components** are blocks `{name: dpo, beta: 0.1}` with the settings of [components](components.md). The name is
  a registered one, an import path `my_package.losses:MyLoss`, or that of an installed plug-in.
- **Paths** are looked up in the current folder first, and beside the recipe if they are not there.
- **Overrides** on the command line change single keys: `train.learning_rate=1e-6`, `label.labelers.0.model=my-teacher`,
  `train.objective={name: simpo, beta: 2}`, `generate=null`.
- **Variants** (`variants: {sft: {...}, dpo: {model.path: "variant:sft"}}`) are run in their order, each with its
  own keys. `variant:NAME` is the model that an earlier one trained, wherever a model is named;
  `data.path: variant:NAME/STAGE` takes the rows of its stage `data`, `prompts`, `generate` or `label`.
- **Mistakes** are told all at once, before anything is loaded, each with file, line, key and the nearest valid name.
  `prefine run RECIPE --dry-run` only checks, and prints the recipe with all its settings.
"""

COMPONENTS_HEAD = """\
# Components

<!-- made by scripts/make_docs.py from the docstrings of the components -->

What `prefine list KIND` shows. The settings are the arguments of a constructor; a block of a recipe names the component
and the settings that differ from their defaults: `{name: dpo, beta: 0.05}`.
"""


def recipes_page() -> str:
    parts = [RECIPES_HEAD, "## The recipe itself", _table(Recipe)]
    for name, field in Recipe.model_fields.items():
        section = _section_of(field)
        if section is not None:
            title = f"## `{name}`" + (" (a stage)" if name in STAGES else "")
            parts += [title, (section.__doc__ or "").strip(), _table(section, name)]
            own = {s for f in Recipe.model_fields.values() if (s := _section_of(f))}
            for inner in {s: 0 for f in section.model_fields.values() if (s := _section_of(f)) and s not in own}:
                parts += [f"### `{inner.__name__.lower()}`", (inner.__doc__ or "").strip(), _table(inner)]
    return "\n\n".join(p.strip() for p in parts) + "\n"


def _table(section: type[Section], path: str = "") -> str:
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        wanted, default = _value(field, name, path), _default(field)
        lines.append(f"| `{name}` | {wanted} | {default} | {_one_line(field.description or '')} |")
    return "\n".join(lines)


def _value(field: FieldInfo, name: str, path: str) -> str:
    section = _section_of(field)
    if section is not None:
        home = section.__name__.lower()
        return f"section, see [`{home}`](#{home}{'-a-stage' if home in STAGES else ''})"
    for pattern, registry in COMPONENTS.items():
        if pattern in ((path, name), (path, name, "*")):
            kind = registry.kind + "s"
            return f"{'list of blocks' if '*' in pattern else 'block'}, see [{kind}](components.md#{kind})"
    bounds = [str(m) for m in field.metadata]
    for argument in typing.get_args(field.annotation):
        bounds += [str(m) for m in getattr(argument, "__metadata__", ())]
    text = expected(field.annotation).replace("|", "\\|")
    return text + _range(" ".join(bounds))


def _range(bounds: str) -> str:
    words = {"gt=": "above ", "ge=": "at least ", "lt=": "below ", "le=": "at most "}
    found = []
    for mark, word in words.items():
        if mark in bounds:
            found.append(word + bounds.split(mark)[1].split(")")[0].split(",")[0])
    return f", {' and '.join(found)}" if found else ""


def _section_of(field: FieldInfo) -> type[Section] | None:
    for kind in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return ""
    return f"`{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value).replace("e-0", "e-")


def components_page() -> str:
    parts = [COMPONENTS_HEAD]
    for kind in KINDS:
        parts.append(f"## {kind}")
        for item in descriptions(kind):
            facts = "\n".join(f"- {label}: {_code(label, text)}" for label, text in lines_of(item))
            parts.append(f"### `{item.name}`\n\n{item.what}\n\n{facts}\n- class: `{item.import_path}`")
    return "\n\n".join(p.strip() for p in parts) + "\n"


def _code(label: str, text: str) -> str:
    return f"`{text}`" if label in ("formula", "settings") and text != "none" and "`" not in text else text


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES = {"recipes.md": recipes_page, "components.md": components_page}


def main() -> int:
    old = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        old.append(name)
        if "--check" not in sys.argv:
            DOCS.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if old:
        print(f"{'not up to date (run make docs)' if '--check' in sys.argv else 'written'}: {', '.join(old)}")
    return 1 if old and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
