"""What the generate stage asks of a generator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Candidate, Group


class Generator:
    """Samples responses: with transformers, or with anything else that can write candidates."""

    keeps_given: ClassVar[bool] = False
    """True where the responses that came with a prompt stay beside the new ones."""

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Load what is needed: the recipe has the start model and the seed. Returns facts for the manifest."""
        return {}

    def ahead(self, groups: list[Group], num_responses: int, step: Step) -> None:
        """All groups that `generate` will be called for, part by part: a chance to ask one model after the other."""

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        """New candidates for each group, none for a prompt that cannot be used. `step` counts responses."""
        raise TypeError(f"{type(self).__name__} has no method generate(groups, num_responses, step)")

    def refusal(self, group: Group) -> str | None:
        """Why a group got no responses, as a short name to count by."""
        return "no_response"

    def finished(self, group: Group, candidates: list[Candidate]) -> Group:
        """The group as it goes on: by default the new responses take the place of those that came with it."""
        return replace(group, candidates=candidates, comparisons=[])

    @cached_property
    def counts(self) -> Counter[str]:
        """What was lost without its group being dropped, by reason; the stage takes the numbers after each part."""
        return Counter()

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """More facts for the manifest, after the last group."""
        return {}

    def close(self) -> None:
        """Let go of memory and connections."""
