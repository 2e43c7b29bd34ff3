"""`__all__` is exact wherever there is one, and the package offers what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import prefine

PACKAGE = Path(prefine.__file__).parent


def declared(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def public(tree: ast.Module) -> set[str]:
    """Names without an underscore that the module defines itself, and names it imports from this package."""
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {n for n in names if not n.startswith("_") and not n.isupper()}


def available(tree: ast.Module) -> set[str]:
    """Everything that can be imported from the module."""
    imported = {
        a.asname or a.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for a in node.names
    }
    return public(tree) | imported


MODULES = [p for p in sorted(PACKAGE.rglob("*.py")) if declared(ast.parse(p.read_text())) is not None]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_all_is_exact(path):
    tree = ast.parse(path.read_text())
    names = declared(tree) or []
    order = sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert names == order, "constants, classes, the rest, so that there is one order"
    assert len(names) == len(set(names))
    if path == PACKAGE / "__init__.py":
        assert public(tree) <= set(names)
        assert set(names) == {*prefine._HOMES, *public(tree), "__version__"}
    else:
        constants = {n for n in names if n.isupper()}
        assert public(tree) <= set(names), "public names that __all__ leaves out"
        assert set(names) - constants <= available(tree), "names in __all__ that are not there"


def test_every_public_name_can_be_had():
    for name in prefine.__all__:
        assert getattr(prefine, name) is not None
    assert dir(prefine) == sorted(prefine.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        prefine.nothing  # noqa: B018
