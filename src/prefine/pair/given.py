"""The comparisons that came with the data, as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

from prefine.pair.base import Pairs, TextKey, draw, example, text_key
from prefine.registry import pairers
from prefine.schema import Candidate, Comparison, Group


@pairers.register("given")
class Given:
    """The preferences that came with the data, one pair for each two responses that were compared.

    Formula: (a, b) if more judgements prefer a to b than b to a; ties and even votes make no pair
    Defaults: judge: null counts the judgements of all judges, a name only those of one, as `human:helpful`;
    min_strength: null takes comparisons of any strength, and those without one (2 is usual for the vote ratios of SHP);
    max_pairs: null keeps all pairs of a prompt, a number those with the smallest hash (5 is usual for SHP)
    """

    group_size = 2
    needs_scores = False

    def __init__(
        self,
        judge: str | None = None,
        min_strength: float | None = None,
        max_pairs: int | None = None,
        seed: int = 0,
    ) -> None:
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
        self.judge, self.min_strength, self.max_pairs, self.seed = judge, min_strength, max_pairs, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        if not group.candidates:
            return [], "no_responses"
        if not group.comparisons:
            return [], "no_comparisons"
        group = replace(group, comparisons=[c for c in group.comparisons if self._counts(c)])
        if not group.comparisons:
            return [], "no_comparison_of_this_judge_and_strength"
        score = {c.id: s for c, s in zip(group.candidates, scores, strict=True)}
        writer = _writers(group)
        wins = _wins(group)
        out = []
        for a, b in sorted({tuple(sorted(edge)) for edge in wins}):
            if wins[a, b] != wins[b, a]:
                texts = (a, b) if wins[a, b] > wins[b, a] else (b, a)
                ordered = [writer[t] for t in texts]
                known = [score[c.id] for c in ordered]
                out.append(example(group, ordered, [s for s in known if s is not None] if None not in known else []))
        if self.max_pairs is not None and len(out) > self.max_pairs:
            out = sorted(out, key=lambda e: draw(self.seed, "pair", group.id, *e.candidate_ids))[: self.max_pairs]
        if out:
            return sorted(out, key=lambda e: e.id), None
        return [], _reason(group, bool(wins))

    def _counts(self, comparison: Comparison) -> bool:
        if self.judge is not None and comparison.judge != self.judge:
            return False
        return self.min_strength is None or (comparison.strength or 0.0) >= self.min_strength


def _writers(group: Group) -> dict[TextKey, Candidate]:
    """One candidate per text: the one with the smallest id."""
    return {text_key(c): c for c in sorted(group.candidates, key=lambda c: c.id, reverse=True)}


def _wins(group: Group) -> Counter[tuple[TextKey, TextKey]]:
    """How often the first text was preferred to the second."""
    text = {c.id: text_key(c) for c in group.candidates if c.text.strip()}
    wins: Counter[tuple[TextKey, TextKey]] = Counter()
    for c in group.comparisons:
        if c.outcome in ("a", "b") and c.a in text and c.b in text and text[c.a] != text[c.b]:
            wins[(text[c.a], text[c.b]) if c.outcome == "a" else (text[c.b], text[c.a])] += 1
    return wins


def _reason(group: Group, voted: bool) -> str:
    if voted:
        return "contradictory"
    texts = {text_key(c) for c in group.candidates}
    if not list(combinations(texts, 2)):
        return "fewer_than_2_distinct_responses"
    outcomes = {c.outcome for c in group.comparisons}
    return "tie" if "tie" in outcomes else "no_usable_comparison"
