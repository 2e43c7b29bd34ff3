"""The pair stage: scored groups in, training examples out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from prefine.errors import PrefineError
from prefine.ordering import column, groups_by_id, number_of_rows
from prefine.pair.base import Pairer, text_key
from prefine.pair.selection import Known, known, mixed, ratings_of, require, weights
from prefine.progress import Progress
from prefine.recipe import Pair, Recipe
from prefine.registry import pairers
from prefine.rundir import Counts, StageDir
from prefine.schema import Example, Group

PART = 10_000


def run(recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress) -> tuple[Counts, dict[str, Any]]:
    """Write the examples of every group of `source` in the order of their ids; the counts are of groups."""
    there = known(source.groups())
    pairing = Pairing(recipe.pair or Pair(), there, number_of_rows(source))
    written = set(column(folder, "group_id"))
    # A part ends with a whole group, so that an interrupted stage knows which groups are written.
    todo: list[Example] = []
    for found in pairing.examples(groups_by_id(source), progress):
        if found[0].group_id not in written:
            todo += found
        if len(todo) >= PART:
            folder.write_part(todo)
            todo = []
    if todo:
        folder.write_part(todo)
    return pairing.counts, pairing.facts()


def build(section: Pair, groups: Iterable[Group], progress: Progress) -> tuple[list[Example], Counts, dict[str, Any]]:
    """The examples of all groups in the order of their ids, the balance of groups, and facts for the manifest."""
    rows = sorted(groups, key=lambda g: g.id)
    pairing = Pairing(section, known(rows), len(rows))
    examples = [e for found in pairing.examples(rows, progress) for e in found]
    return examples, pairing.counts, pairing.facts()


class Pairing:
    """Makes the examples of groups one after the other, and keeps the counts."""

    def __init__(self, section: Pair, there: Known, total: int) -> None:
        self.pairer: Pairer = pairers.build(section.pairer)
        self.name = section.pairer.get("name")
        self.mix = weights(section.score, there, required=self.pairer.needs_scores)
        self.ratings: list[str] = getattr(self.pairer, "ratings", [])
        require(self.ratings, there)
        self.counts, self.total, self._tally = Counts(), total, _Tally()

    def examples(self, groups: Iterable[Group], progress: Progress) -> Iterator[list[Example]]:
        """The examples of each group that has any; an error at the end where none had."""
        counts = self.counts
        with progress.task("pairing", total=self.total, unit="prompts") as step:
            for group in groups:
                counts.rows_in += 1
                scores = [mixed(c, self.mix) for c in group.candidates]
                found, reason = self.pairer.pairs(group, scores)
                _note(counts, group, scores if self.mix else [], found)
                for name in self.ratings:
                    without = sum(ratings_of(c, [name]) is None for c in group.candidates)
                    counts.note(f"responses_without_{name}", without)
                if found:
                    counts.rows_out += 1
                    self._tally.add(found)
                    yield found
                else:
                    counts.drop(reason or "no_example")
                step(1)
        if not counts.rows_out:
            raise PrefineError(
                f"pair: no prompt of {counts.rows_in} gave an example with the pairer '{self.name}' "
                f"({_list(counts.dropped)})"
            )

    def facts(self) -> dict[str, Any]:
        return {"score": self.mix, **self._tally.facts()}


def _note(counts: Counts, group: Group, scores: list[float | None], found: list[Example]) -> None:
    counts.note("examples", len(found))
    counts.note("responses", len(group.candidates))
    counts.note("duplicate_responses", len(group.candidates) - len({text_key(c) for c in group.candidates}))
    counts.note("empty_responses", sum(not c.text.strip() for c in group.candidates))
    counts.note("comparisons", len(group.comparisons))
    counts.note("unscored_responses", sum(s is None for s in scores))


class _Tally:
    """What a reader wants to know before training: sizes, splits, gaps, and whether the better one is just longer."""

    def __init__(self) -> None:
        self.sizes, self.splits = Counter[int](), Counter[str]()
        self.several = self.first = self.last = self.longer = 0
        self.gaps: list[float] = []

    def add(self, examples: list[Example]) -> None:
        for e in examples:
            self.sizes[len(e.responses)] += 1
            self.splits[e.split] += 1
            if len(e.responses) > 1:
                first, last = _words(e, 0), _words(e, -1)
                self.several, self.first, self.last = self.several + 1, self.first + first, self.last + last
                self.longer += first > last
                if len(e.scores) == len(e.responses):
                    self.gaps.append(e.scores[0] - e.scores[-1])

    def facts(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "sizes": {str(k): n for k, n in sorted(self.sizes.items())},
            "splits": dict(sorted(self.splits.items())),
        }
        if self.several:
            n = self.several
            out["words"] = {"first": round(self.first / n, 6), "last": round(self.last / n, 6)}
            out["first_is_longer"] = round(self.longer / n, 6)
        gaps = sorted(self.gaps)
        if gaps:
            quarter = [gaps[min(len(gaps) - 1, len(gaps) * q // 4)] for q in (0, 1, 2, 3, 4)]
            out["gap"] = {
                "mean": round(sum(gaps) / len(gaps), 6),
                "quartiles": [round(g, 6) for g in quarter],
                "ties": sum(g == 0 for g in gaps),
            }
        return out


def _words(item: Example, k: int) -> int:
    return sum(len(m["content"].split()) for m in item.responses[k])


def _list(reasons: dict[str, int]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in sorted(reasons.items())) or "there are no prompts"
