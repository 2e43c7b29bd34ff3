"""The prompts stage: the data's groups in as seeds, new prompts out, with the seeds if the recipe says so."""

from __future__ import annotations

from typing import Any

from prefine.data.split import split_of
from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.prompts.base import Maker
from prefine.recipe import Recipe
from prefine.registry import makers
from prefine.rundir import Counts, StageDir
from prefine.schema import Group


def run(recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress) -> tuple[Counts, dict[str, Any]]:
    """Write what the maker makes of the groups of `source`, and with `include_seeds` these groups as well.

    Counts: in are the seeds and everything that was proposed. New prompts are held out by the same hash as the data's,
    which depends on their `split_key`; a maker that changes one seed keeps the seed's.
    """
    assert recipe.prompts is not None
    seeds = sorted(source.groups(), key=lambda g: g.id)
    if not seeds:
        raise PrefineError("prompts: there are no rows to start from")
    maker: Maker = makers.build(recipe.prompts.maker)
    try:
        facts = maker.prepare(recipe)
        made = _make(maker, recipe, seeds, folder, progress)
        facts = {**facts, **maker.facts()}
    finally:
        maker.close()
    counts = _balance(made, seeds, recipe.prompts.include_seeds, folder)
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(made.dropped.items()))
    progress.line(f"  {made.rows_out} new prompts of {made.rows_in} proposed" + (f" ({reasons})" if reasons else ""))
    if not made.rows_out:
        raise PrefineError(f"prompts: none of {made.rows_in} proposals became a prompt ({reasons or 'none was made'})")
    return counts, facts


def _make(maker: Maker, recipe: Recipe, seeds: list[Group], folder: StageDir, progress: Progress) -> Counts:
    assert recipe.prompts is not None
    written = list(folder.groups())
    if recipe.prompts.include_seeds and not written:
        folder.write_part(seeds)
    taken = {g.id for g in seeds}
    done = [g for g in written if g.id not in taken]
    taken |= {g.id for g in done}

    def write(groups: list[Group]) -> None:
        for group in groups:
            if group.id in taken:
                raise PrefineError(f"prompts: the prompt {group.id[:12]} was made twice ({group.prompt[:60]!r})")
            taken.add(group.id)
            group.split = split_of(group, recipe.data.test_fraction, recipe.data.split_salt)
        if groups:
            folder.write_part(groups)

    with progress.task("prompts", unit="prompts", done=len(done)) as step:
        return maker.make(seeds, write, done, step)


def _balance(made: Counts, seeds: list[Group], include_seeds: bool, folder: StageDir) -> Counts:
    """Seeds and proposals against the rows that are there, read anew."""
    counts = Counts(len(seeds) + made.rows_in)
    counts.dropped, counts.extra = dict(made.dropped), dict(made.extra)
    if not include_seeds:
        counts.drop("used_as_seed", len(seeds))
    for group in folder.groups():
        counts.rows_out += 1
        counts.note(f"prompts_{group.split}")
        counts.note("responses", len(group.candidates))
    counts.note("seeds", len(seeds))
    counts.note("proposed", made.rows_in)
    return counts
