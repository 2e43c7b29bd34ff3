"""What the prompts stage asks of a maker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.rundir import Counts
from prefine.schema import Group

if TYPE_CHECKING:
    from prefine.engines.session import Session

Write = Callable[[list[Group]], None]


class Maker:
    """Makes new prompts of those there are: written by a model, or by rearranging them."""

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        """Load and check what is needed, before the first prompt. Returns facts for the manifest."""
        return {}

    def make(self, seeds: list[Group], write: Write, done: list[Group], step: Step) -> Counts:
        """Make prompts of `seeds` (ordered by id), and say what became of everything that was proposed.

        `write` commits new groups durably, one call for all that belong together. `done` are the groups that an
        interrupted run has committed, in their order; they are not written again, and are counted as if this call had
        made them. Every call of a model goes through a session, so that doing over what was done costs nothing, and
        the rows are the same wherever a run was interrupted. `step` counts the prompts that are made.

        The counts' `rows_in` are proposals, `rows_out` the groups written, with `done`. Held-out seeds (split `test`)
        are there so that nothing new repeats them; no model sees them.
        """
        raise TypeError(f"{type(self).__name__} has no method make(seeds, write, done, step)")

    def facts(self) -> dict[str, Any]:
        """More facts for the manifest, after the last prompt."""
        return {}

    def close(self) -> None:
        """Let go of memory and connections."""


def as_committed(new: list[Group], done: list[Group], counts: Counts) -> list[Group]:
    """The groups that an interrupted run has committed together, whatever would be made in their place now.

    They differ only where a call failed then and is answered now: that answer comes too late.
    """
    ids = {g.id for g in done}
    late = sum(g.id not in ids for g in new)
    if late:
        counts.drop("answered_too_late", late)
    counts.rows_in += len(ids - {g.id for g in new})
    return done


def open_session(block: dict[str, Any], recipe: Recipe) -> Session:
    """The engine of a block, prepared, with the run's ledger."""
    from prefine.engines import session

    return session.open_session(block, recipe)
