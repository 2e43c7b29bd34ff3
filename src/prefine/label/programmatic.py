"""The score that a function of one's own gives."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError, nearest
from prefine.label.base import Labeler
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Candidate, Group, Score

ScoreFunction = Callable[[str, str, dict[str, str]], Any]


@labelers.register("programmatic")
class Programmatic(Labeler):
    """The number that a Python function gives to a response: a test, a rule, a metric, a gold score.

    Formula: function(prompt, response, task_meta), with `function` as module:function; None means no score
    Needs: a module that Python can import
    """

    def __init__(self, function: str, as_name: str | None = None) -> None:
        if ":" not in function:
            raise ValueError(f"function must be module:function, not '{function}'")
        self.path, self.name = function, as_name or "programmatic"

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self.function = find_function(self.path)
        return {"function": self.path}

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        out = []
        for group in groups:
            out.append([[self._score(group, c)] for c in group.candidates])
            step(len(group.candidates))
        return out

    def _score(self, group: Group, candidate: Candidate) -> Score:
        try:
            value = self.function(group.prompt, candidate.text, dict(group.task_meta))
        except Exception as error:
            raise PrefineError(
                f"{self.path} failed on a response of group {group.id[:12]} (prompt {group.prompt[:60]!r}): "
                f"{type(error).__name__}: {error}"
            ) from error
        if value is None:
            return Score(self.name, None, "metric", status="na")
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, str) or not math.isfinite(number):
            raise PrefineError(
                f"{self.path} gave {value!r} for a response of group {group.id[:12]}; "
                "it must return a finite number, or None for no score"
            )
        return Score(self.name, number, "metric")


def find_function(path: str) -> ScoreFunction:
    """The function that `module:function` names; modules in the working directory are found too."""
    module, _, name = path.partition(":")
    if importlib.util.find_spec(module.partition(".")[0]) is None and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PrefineError(f"{path}: there is no module '{error.name}' (is its folder on PYTHONPATH?)") from error
    found = getattr(loaded, name, None)
    if not callable(found):
        functions = [n for n, value in vars(loaded).items() if callable(value) and not n.startswith("_")]
        raise PrefineError(f"{path}: {module} has no function '{name}'{nearest(name, functions)}")
    return found
