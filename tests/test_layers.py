"""Imports go down only, and what must stay light imports nothing heavy."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "prefine"

LAYERS = [
    {
        "component_source",
        "conditions",
        "durable",
        "errors",
        "ledger",
        "ledger_rows",
        "ordering",
        "progress",
        "recipe",
        "registry",
        "rundir",
        "schema",
        "student_t",
        "tiny_world",
        "type_words",
        "unanswered",
    },
    {"data"},
    {"models"},
    {"engines"},
    {"generate", "objectives", "pair", "prompts"},
    {"label", "train"},
    {"evaluate"},
    {"report"},
    {"__main__", "cli", "demo", "estimate", "inputs", "pipeline", "retries"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

ONLY_FOUNDATION = {"objectives", "pair", "report"}
"""Parts above the foundation (level 0) that may use nothing else of the package."""

ARITHMETIC = {
    "report": {
        f"prefine.evaluate.{name}"
        for name in ("arena.entrants", "arena.results", "arena.votes", "paired", "seeds", "statistics")
    }
}
"""Modules above the foundation that a part may use nevertheless, since they import nothing but numpy."""

LIGHT = {"pydantic", "yaml", "pyarrow"}
"""What level 0 may import besides the standard library; `rich` only where progress is shown."""

THIRD_PARTY = {
    "objectives": {"torch"},
    "pair": set(),
    "report": {"jinja2", "markupsafe", "pyarrow", "yaml"},
    "progress": {"rich"},
}


def imports(path: Path) -> set[str]:
    """Every module that the file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {f"{module}.{a.name}" for a in node.names} if module == "prefine" else {module}
    return found


def part(path: Path) -> str:
    """The part of the package a file belongs to: a folder of it, or a module at its top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def test_imports_go_down_only():
    wrong = []
    for path in files():
        here = part(path)
        assert here in LEVEL, f"{here} has no layer; give it one in this test and in the architecture"
        used = imports(path) - ARITHMETIC.get(here, set())
        for other in {m.split(".")[1] for m in used if m.startswith("prefine.")} - {here, "__version__"}:
            assert other in LEVEL, f"{path.name} imports prefine.{other}, which has no layer"
            beside = LEVEL[here] in (0, len(LAYERS) - 1) and LEVEL[other] == LEVEL[here]
            foundation = here not in ONLY_FOUNDATION or LEVEL[other] == 0
            if not (beside or LEVEL[other] < LEVEL[here]) or not foundation:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong


def test_light_parts_import_nothing_heavy():
    wrong = []
    for path in files():
        here = part(path)
        allowed = LIGHT | THIRD_PARTY.get(here, set()) if LEVEL[here] == 0 else THIRD_PARTY.get(here)
        outside = {m.split(".")[0] for m in imports(path)} - {"prefine"} - sys.stdlib_module_names
        if allowed is not None and not outside <= allowed:
            wrong.append(f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(outside - allowed))}")
    assert not wrong


def test_no_module_has_a_name_that_says_nothing():
    assert not {p.stem for p in files()} & {"utils", "util", "common", "helpers", "helper", "core", "misc"}


def test_files_stay_readable():
    long = {str(p.relative_to(PACKAGE)): n for p in files() if (n := len(p.read_text().splitlines())) > 400}
    assert not long
