"""Components are found and their settings checked from their source alone."""

from __future__ import annotations

import sys
import textwrap

import pytest

from prefine.component_source import COMPUTED, REQUIRED
from prefine.errors import PrefineError
from prefine.registry import KINDS, Registry, SettingError, labelers, objectives, pairers

MODULE = """
raise RuntimeError("importing this module is what must not happen")
from somewhere.far import Away
from typing import Literal

LIMIT = 6
FACTOR = compute()

class Base(Away):
    group_size = 1

    def __init__(self, beta: float = 0.1, kind: Literal["a", "b"] = "a") -> None:
        if beta <= 0:
            raise ValueError(f"beta must be positive, not {beta}")
        self.beta = beta

class Child(Base):
    '''What it is.

    Paper: none
    '''
    needs_scores = True

class Other(Base):
    def __init__(self, strength: float, steps: int = 2, extra: float = FACTOR, *, names: list[str] | None = None):
        if not 1 <= steps <= LIMIT:
            raise ValueError(f"steps must be in [1, {LIMIT}], not {steps}")
        if unknown_here(strength):
            raise ValueError("never evaluated")
        super().__init__(beta=strength)

class Passing(Base):
    tight = True

    def __init__(self, gamma: float = 0.5, **settings):
        super().__init__(**settings)
        if gamma > 1 and self.tight:
            raise ValueError(f"gamma must be at most 1, not {gamma}")

class Fixed(Passing):
    tight = False

    def __init__(self, **settings):
        super().__init__(0.2, kind="b", **settings)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "far_components.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "far_components"


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_says_what_it_is_and_every_default_is_valid(kind):
    entries = KINDS[kind].entries()
    assert entries
    for name, entry in entries.items():
        assert entry.doc.strip(), f"{kind} {name} has no docstring"
        assert entry.doc.splitlines()[0].endswith("."), f"{kind} {name}: the first line is no sentence"
        for setting in entry.settings:
            assert setting.annotation, f"{kind} {name}: {setting.name} has no type"
            assert setting.default is not COMPUTED, f"{kind} {name}: the default of {setting.name} is no literal"
        if all(s.default is not REQUIRED for s in entry.settings):
            found, problems = KINDS[kind].inspect({"name": name})
            # One of several settings may be needed, which the docstring then says.
            assert found["name"] == name and (not problems or "Needs:" in entry.doc), problems


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_can_be_imported_and_is_what_its_source_says(kind):
    for name, entry in KINDS[kind].entries().items():
        assert entry.load().component_name == name  # type: ignore[attr-defined]


def test_objectives_and_pairers_say_what_they_take_and_give():
    for kind in (objectives, pairers):
        for entry in kind.entries().values():
            assert entry.attributes.get("group_size", "absent") in (None, 1, 2), entry.name


def test_a_component_by_its_import_path_is_not_imported(module):
    settings = objectives.check({"name": f"{module}:Child", "beta": 2})
    assert settings == {"name": f"{module}:Child", "beta": 2.0, "kind": "a"}
    assert module not in sys.modules
    entry = objectives.find(f"{module}:Child")
    assert entry.attributes == {"group_size": 1, "needs_scores": True}
    assert entry.doc.startswith("What it is.")


def test_a_default_that_is_no_literal_is_left_to_the_constructor(module):
    assert objectives.check({"name": f"{module}:Other", "strength": 1.0}) == {
        "name": f"{module}:Other",
        "strength": 1.0,
        "steps": 2,
        "names": None,
    }


@pytest.mark.parametrize(
    ("block", "key", "message"),
    [
        ({"beta": "0.2"}, "beta", "beta must be a number, not the text '0.2'; remove the quotes"),
        ({"beta": 0}, "beta", "beta must be positive, not 0.0"),
        ({"beta": True}, "beta", "beta must be a number, not true"),
        ({"kind": "c"}, "kind", "kind must be one of 'a', 'b', not the text 'c'"),
        ({"knd": "a"}, "knd", "has no setting 'knd'; did you mean 'kind'?"),
    ],
)
def test_what_a_block_can_have_wrong(module, block, key, message):
    with pytest.raises(SettingError) as caught:
        objectives.check({"name": f"{module}:Child", **block})
    assert caught.value.key == key
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"strength": 1.0, "steps": 9}, "steps must be in [1, 6], not 9"),
        ({"strength": -1.0}, "beta must be positive, not -1.0"),
        ({}, "needs the setting 'strength'"),
        ({"strength": 1.0, "names": ["a", 1]}, "names must be a list, each item text or null, not a list"),
    ],
)
def test_what_the_constructors_of_a_class_and_its_base_refuse(module, block, message):
    with pytest.raises(SettingError) as caught:
        objectives.check({"name": f"{module}:Other", **block})
    assert str(caught.value).endswith(message)


def test_all_mistakes_of_a_block_at_once():
    _, problems = objectives.inspect({"name": "dpo", "bta": 1, "label_smoothing": "x"})
    assert [p.key for p in problems] == ["bta", "label_smoothing"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dop", "unknown objective 'dop'; did you mean 'dpo'?"),
        ("no_such_module:Loss", "there is no module 'no_such_module'"),
        ("prefine.objectives.dpo:DOP", "no class 'DOP' in prefine.objectives.dpo; did you mean 'DPO'?"),
    ],
)
def test_names_that_lead_nowhere(name, message):
    with pytest.raises(PrefineError) as caught:
        objectives.find(name)
    assert message in str(caught.value)


def test_a_plug_in_with_a_syntax_error_is_named_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("x = 1\nclass (:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PrefineError, match=r"broken_plugin\.py:2: not valid Python"):
        labelers.find("broken_plugin:X")


def test_entry_points_are_found(module, monkeypatch):
    class Point:
        name, value = "published", f"{module}:Child"

    monkeypatch.setattr(
        "prefine.registry.metadata.entry_points", lambda group: [Point] if group == "prefine.xs" else []
    )
    registry = Registry("x", "prefine.objectives")
    assert registry.find("published").cls == "Child"
    with pytest.raises(PrefineError, match="did you mean 'published'"):
        registry.find("publisht")


def test_building_gives_an_instance_with_the_settings():
    pairer = pairers.build({"name": "best_worst", "min_gap": 1})
    assert pairer.min_gap == 1.0


def test_settings_passed_on_by_name_are_those_of_the_parent(module):
    passing, fixed = (objectives.find(f"{module}:{name}") for name in ("Passing", "Fixed"))
    assert [s.name for s in passing.settings] == ["gamma", "beta", "kind"]
    assert [s.name for s in fixed.settings] == ["beta"]
    assert objectives.check({"name": f"{module}:Fixed", "beta": 0.3})["beta"] == 0.3
    for block, message in [
        ({"name": f"{module}:Passing", "beta": -1.0}, "beta must be positive, not -1.0"),
        ({"name": f"{module}:Passing", "gamma": 2.0}, "gamma must be at most 1, not 2.0"),
        ({"name": f"{module}:Fixed", "beta": 0.0}, "beta must be positive, not 0.0"),
        ({"name": f"{module}:Fixed", "kind": "a"}, "has no setting 'kind'"),
    ]:
        with pytest.raises(SettingError) as caught:
            objectives.check(block)
        assert message in str(caught.value)


def test_a_name_of_other_tools_leads_to_the_component():
    assert objectives.find("slic_dpo") is objectives.entries()["hinge"]
    assert objectives.check({"name": "aot_pair"})["name"] == "aot_unpaired"
    names = [n for e in objectives.entries().values() for n in (e.name, *e.aliases)]
    assert len(names) == len(set(names))
