"""What the generate stage asks of a generator."""

from __future__ import annotations

from typing import Any

from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.schema import Candidate, Group


class Generator:
    """Samples responses: with transformers, or with anything else that can write candidates."""

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Load what is needed: the recipe has the start model and the seed. Returns facts for the manifest."""
        return {}

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        """New candidates for each group, none for a prompt that cannot be used. `step` counts responses."""
        raise TypeError(f"{type(self).__name__} has no method generate(groups, num_responses, step)")

    def refusal(self, group: Group) -> str | None:
        """Why a group got no responses, as a short name to count by."""
        return "no_response"
