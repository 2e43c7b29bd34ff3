"""Does a revision beat its original? A judge is asked before the pair counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefine.conditions import unasked
from prefine.errors import PrefineError
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Candidate, Comparison, Group


class Rejudge:
    """A labeler that compares, asked about two responses at a time."""

    def __init__(self, block: dict[str, Any]) -> None:
        self.block = block

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self.labeler: Any = labelers.build(self.block)
        return self.labeler.prepare(recipe)

    def verdicts(self, matches: list[tuple[Group, Candidate, Candidate]], step: Step) -> list[Comparison]:
        """The comparison of the two responses of each match."""
        asked = [unasked(replace(g, candidates=[a, b], comparisons=[])) for g, a, b in matches]
        found = self.labeler.label(asked, step) if asked else []
        if any(len(labels.comparisons) != 1 for labels in found):
            raise PrefineError(
                f"generate.generator.judge: the labeler '{self.block.get('name')}' does not compare two responses; "
                "judge_pairwise does, in both orders"
            )
        return [labels.comparisons[0] for labels in found]

    def facts(self) -> dict[str, Any]:
        return self.labeler.facts([])

    def close(self) -> None:
        if hasattr(self, "labeler"):
            self.labeler.close()


def winner(comparison: Comparison) -> str | None:
    """The id of the response that won, or None for a tie or without a verdict."""
    return {"a": comparison.a, "b": comparison.b}.get(comparison.outcome)
