"""A judge who compares responses two at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any

from prefine.label.asking import scaled
from prefine.label.base import Labels
from prefine.label.pair_labeler import PairLabeler
from prefine.label.pairwise import Match, Verdict, as_comparison, order_facts, unique_texts, writers
from prefine.progress import Step
from prefine.registry import labelers
from prefine.schema import Group, Score


@labelers.register("judge_pairwise")
class JudgePairwise(PairLabeler):
    """Which of two responses a model finds better, asked in both orders; the score is the share of comparisons won.

    Formula: strict: won if both orders say so, else a tie (1/2); soft: P = [P(a | a, b) + P(a | b, a)] / 2; the mean
    over the response's comparisons that could be read
    Paper: Zheng et al. 2023 (arXiv:2306.05685), pairwise comparison with swapped positions
    Defaults: mode: text reads a verdict after reasons, `first_token` has P(a) = p(A) / [p(A) + p(B)] of the next token;
    baseline: null compares all pairs, `key=value` all others with the response whose generator has it; template: a file
    with {prompt}, {a} and {b}, with first_token also `tiny_world`; reference: the field of task_meta with a right
    answer; a pair that one order did not decide is no comparison; a reply that cannot be read is asked for again
    max_reasks times
    Needs: an engine, for first_token one that tells the first token's probabilities
    """

    def __init__(self, baseline: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if baseline is not None and "=" not in baseline:
            raise ValueError(f"baseline must be key=value, as in role=reference, not '{baseline}'")
        self.baseline = baseline

    def calls(self, groups: Iterable[Group]) -> int:
        return self.judge.calls * sum(len(self._matches(g)) for g in groups)

    def _matches(self, group: Group) -> list[Match]:
        texts = unique_texts(group)
        base = self._baseline(group)
        pairs = combinations(texts, 2) if self.baseline is None else [(t, base) for t in texts if base and t != base]
        return [Match(group, a, b) for a, b in pairs]

    def _baseline(self, group: Group) -> str | None:
        """The text that others are compared with."""
        key, _, value = (self.baseline or "=").partition("=")
        found = sorted(c.text for c in group.candidates if c.generator.get(key) == value and c.text.strip())
        return found[0] if found and key else None

    def label(self, groups: list[Group], step: Step) -> list[Labels]:
        matches = [self._matches(g) for g in groups]
        total, responses = sum(map(len, matches)), sum(len(g.candidates) for g in groups)
        if not total:
            step(responses)

        counted = scaled(step, responses, total) if total else None
        found = iter(self.judge.compare([m for row in matches for m in row], counted))
        return [self._labels(g, [(m, next(found)) for m in row]) for g, row in zip(groups, matches, strict=True)]

    def _labels(self, group: Group, results: list[tuple[Match, Verdict]]) -> Labels:
        ids, base = writers(group), self._baseline(group)
        comparisons = [as_comparison(verdict, match, ids, self.name) for match, verdict in results]
        shares: dict[str, list[float]] = {}
        failures: dict[str, Counter[str]] = {}
        for match, verdict in results:
            won = self.judge.won(verdict)
            for text, share in ((match.a, won), (match.b, None if won is None else 1 - won)):
                if share is None:
                    failures.setdefault(text, Counter())[verdict.status] += 1
                else:
                    shares.setdefault(text, []).append(share)
        scores = []
        for c in group.candidates:
            found, why = shares.get(c.text), failures.get(c.text)
            if self.baseline is not None and c.text == base:
                made = Score(self.name, None, "judge_pairwise", status="baseline")
            elif found:
                made = Score(self.name, math.fsum(found) / len(found), "judge_pairwise")
            else:
                status = why.most_common(1)[0][0] if why else self._alone(c.text, base)
                made = Score(self.name, None, "judge_pairwise", status=status)
            scores.append([made])
        return Labels(scores, comparisons)

    def _alone(self, text: str, base: str | None) -> str:
        """Why a response was compared with nothing."""
        if not text.strip():
            return "empty_response"
        return "no_baseline" if self.baseline is not None and base is None else "only_response"

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """What the order of the two responses does to the verdict, and what was asked."""
        rows = [c for g in groups for c in g.comparisons if c.judge == self.name]
        return order_facts(rows) | self.asker.facts()
