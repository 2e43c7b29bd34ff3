"""The pair stage: scored groups in, training examples out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from prefine.errors import PrefineError
from prefine.pair.base import Pairer, text_key
from prefine.pair.selection import mixed, ratings_of, require, weights
from prefine.progress import Progress
from prefine.recipe import Pair, Recipe
from prefine.registry import pairers
from prefine.rundir import Counts, StageDir
from prefine.schema import Example, Group

PART = 10_000


def run(recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress) -> tuple[Counts, dict[str, Any]]:
    """Write the examples of every group of `source`; the counts are of groups."""
    examples, counts, facts = build(recipe.pair or Pair(), source.groups(), progress)
    written = {e.group_id for e in folder.examples()}
    # A part ends with a whole group, so that an interrupted stage knows which groups are written.
    todo: list[Example] = []
    for i, item in enumerate(examples):
        if item.group_id not in written:
            todo.append(item)
        last = i + 1 == len(examples) or examples[i + 1].group_id != item.group_id
        if todo and last and (len(todo) >= PART or i + 1 == len(examples)):
            folder.write_part(todo)
            todo = []
    return counts, facts


def build(section: Pair, groups: Iterable[Group], progress: Progress) -> tuple[list[Example], Counts, dict[str, Any]]:
    """The examples of all groups in the order of their ids, the balance of groups, and facts for the manifest."""
    pairer: Pairer = pairers.build(section.pairer)
    rows = sorted(groups, key=lambda g: g.id)
    mix = weights(section.score, rows, required=pairer.needs_scores)
    ratings: list[str] = getattr(pairer, "ratings", [])
    require(ratings, rows)
    counts = Counts(len(rows))
    examples: list[Example] = []
    with progress.task("pairing", total=len(rows), unit="prompts") as step:
        for group in rows:
            scores = [mixed(c, mix) for c in group.candidates]
            found, reason = pairer.pairs(group, scores)
            if found:
                counts.rows_out += 1
                examples += found
            else:
                counts.drop(reason or "no_example")
            _note(counts, group, scores if mix else [], found)
            for name in ratings:
                counts.note(f"responses_without_{name}", sum(ratings_of(c, [name]) is None for c in group.candidates))
            step(1)
    if not examples:
        raise PrefineError(
            f"pair: no prompt of {len(rows)} gave an example with the pairer '{section.pairer.get('name')}' "
            f"({_list(counts.dropped)})"
        )
    return examples, counts, {"score": mix, **_facts(examples)}


def _note(counts: Counts, group: Group, scores: list[float | None], found: list[Example]) -> None:
    counts.note("examples", len(found))
    counts.note("responses", len(group.candidates))
    counts.note("duplicate_responses", len(group.candidates) - len({text_key(c) for c in group.candidates}))
    counts.note("empty_responses", sum(not c.text.strip() for c in group.candidates))
    counts.note("comparisons", len(group.comparisons))
    counts.note("unscored_responses", sum(s is None for s in scores))


def _facts(examples: list[Example]) -> dict[str, Any]:
    """What a reader wants to know before training: sizes, splits, gaps, and whether the better one is just longer."""
    out: dict[str, Any] = {
        "sizes": {str(k): n for k, n in sorted(Counter(len(e.responses) for e in examples).items())},
        "splits": dict(sorted(Counter(e.split for e in examples).items())),
    }
    several = [e for e in examples if len(e.responses) > 1]
    if several:
        first, last = [_words(e, 0) for e in several], [_words(e, -1) for e in several]
        out["words"] = {"first": _mean(first), "last": _mean(last)}
        out["first_is_longer"] = _mean([float(a > b) for a, b in zip(first, last, strict=True)])
    gaps = sorted(e.scores[0] - e.scores[-1] for e in several if len(e.scores) == len(e.responses))
    if gaps:
        quarter = [gaps[min(len(gaps) - 1, len(gaps) * q // 4)] for q in (0, 1, 2, 3, 4)]
        out["gap"] = {"mean": _mean(gaps), "quartiles": [round(g, 6) for g in quarter]}
    return out


def _words(item: Example, k: int) -> int:
    return sum(len(m["content"].split()) for m in item.responses[k])


def _mean(values: list[Any]) -> float:
    return round(sum(values) / len(values), 6)


def _list(reasons: dict[str, int]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in sorted(reasons.items())) or "there are no prompts"
