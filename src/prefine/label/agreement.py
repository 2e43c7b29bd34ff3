"""How two judges of the same pairs agree, and what else goes along with a judge's verdicts. Numbers only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from prefine.label.base import latest
from prefine.schema import Candidate, Comparison, Group, digest

RESAMPLES = 2_000
LEVEL = 0.95
SAME = 1e-9

OUTCOMES = (1.0, 0.5, 0.0)
"""The first response of a pair wins, the two tie, the second wins."""

Verdicts = dict[tuple[str, str, str], float]
"""(group, response, response) to the share that the first of the two responses won: 1, 0.5 or 0."""


def pairs_of(group: Group) -> list[tuple[Candidate, Candidate]]:
    """Every two responses with different texts; which of them is named first is decided by a hash."""
    kept = [c for c in group.candidates if c.text.strip()]
    out = []
    for a, b in combinations(kept, 2):
        if a.text != b.text:
            swap = int(digest(sorted((a.id, b.id)))[0], 16) % 2 == int(a.id < b.id)
            out.append((b, a) if swap else (a, b))
    return out


def verdicts(groups: Iterable[Group], name: str) -> Verdicts:
    """What the judge or scorer `name` (`scorer.aspect` for an aspect) says about every pair it has an opinion on.

    Its comparisons count where it made any, else the differences of its scores; equal scores are a tie.
    """
    rows = list(groups)
    compared = any(c.judge == name for g in rows for c in g.comparisons)
    out: Verdicts = {}
    for group in rows:
        known = _compared(group, name) if compared else _scored(group, name)
        for a, b in pairs_of(group):
            if (a.text, b.text) in known:
                out[group.id, a.id, b.id] = known[a.text, b.text]
    return out


def _compared(group: Group, name: str) -> dict[tuple[str, str], float]:
    """The share won by the first of two texts, over all comparisons of them; a majority wins."""
    text = {c.id: c.text for c in group.candidates}
    votes: dict[tuple[str, str], list[float]] = {}
    for c in group.comparisons:
        share = _share(c)
        if c.judge == name and share is not None and c.a in text and c.b in text:
            votes.setdefault((text[c.a], text[c.b]), []).append(share)
            votes.setdefault((text[c.b], text[c.a]), []).append(1 - share)
    return {pair: _sign(math.fsum(v) / len(v) - 0.5) for pair, v in votes.items()}


def _share(c: Comparison) -> float | None:
    return {"a": 1.0, "tie": 0.5, "b": 0.0}.get(c.outcome)


def _scored(group: Group, name: str) -> dict[tuple[str, str], float]:
    scores: dict[str, float] = {}
    for c in group.candidates:
        value = value_of(c, name)
        if value is not None:
            scores[c.text] = value
    return {(a, b): _sign(scores[a] - scores[b]) for a in scores for b in scores if a != b}


def value_of(candidate: Candidate, name: str) -> float | None:
    """The latest score by `name`, or by the scorer and aspect that a dot separates in it."""
    found = latest(candidate, name)
    if found is None and "." in name:
        scorer, _, aspect = name.rpartition(".")
        found = latest(candidate, scorer, aspect)
    return None if found is None else found.value


def _sign(gap: float) -> float:
    return 0.5 if abs(gap) <= SAME else float(gap > 0)


def kappa(table: np.ndarray) -> float | None:
    """Cohen's kappa of a square table of counts, (p_o - p_e) / (1 - p_e) (Cohen 1960); None where p_e is 1."""
    n = table.sum()
    if not n:
        return None
    expected = float((table.sum(0) * table.sum(1)).sum()) / float(n) ** 2
    return None if expected > 1 - 1e-12 else (float(np.trace(table)) / float(n) - expected) / (1 - expected)


def agreement(ours: Verdicts, theirs: Verdicts, seed: int = 0) -> dict[str, Any]:
    """How far two judges agree on the pairs that both have judged.

    kappa: Cohen's, over win, tie and loss; accuracy: over the pairs that `theirs` decide, a tie of ours counts half.
    Intervals are percentile bootstraps over prompts.
    """
    tables: dict[str, np.ndarray] = {}
    for place in sorted(ours.keys() & theirs.keys()):
        table = tables.setdefault(place[0], np.zeros((3, 3)))
        table[OUTCOMES.index(ours[place]), OUTCOMES.index(theirs[place])] += 1
    stack = np.stack(list(tables.values())) if tables else np.zeros((0, 3, 3))
    total = stack.sum(0)
    return {
        "pairs": int(total.sum()),
        "prompts": len(stack),
        "accuracy": _rounded(_accuracy(total)),
        "accuracy_interval": _interval(stack, _accuracy, seed),
        "kappa": _rounded(kappa(total)),
        "kappa_interval": _interval(stack, kappa, seed),
    }


def _accuracy(table: np.ndarray) -> float | None:
    decided = table[:, [0, 2]].sum()
    right = table[0, 0] + table[2, 2] + table[1, [0, 2]].sum() / 2
    return float(right / decided) if decided else None


def _interval(stack: np.ndarray, statistic: Any, seed: int) -> list[float] | None:
    """Percentile interval of a statistic of the summed tables, prompts drawn with replacement."""
    n = len(stack)
    if n < 2:
        return None
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    drawn = [statistic(table) for table in np.tensordot(times, stack, axes=1)]
    known = [d for d in drawn if d is not None]
    if not known:
        return None
    tail = (1 - LEVEL) / 2
    return [round(float(q), 6) for q in np.quantile(known, [tail, 1 - tail])]


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's r; None where one side does not vary."""
    if len(x) < 2:
        return None
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None


def length_bias(groups: Iterable[Group], judged: Verdicts) -> dict[str, Any]:
    """Whether longer responses win: correlation of the share won with the difference in words, and how often they do.

    longer_wins: over pairs of different length, a tie counts half; 0.5 for a judge that does not mind length.
    """
    gaps: list[float] = []
    shares: list[float] = []
    for group in groups:
        for a, b in pairs_of(group):
            if (group.id, a.id, b.id) in judged:
                gaps.append(len(a.text.split()) - len(b.text.split()))
                shares.append(judged[group.id, a.id, b.id])
    longer = [s if gap > 0 else 1 - s for gap, s in zip(gaps, shares, strict=True) if gap]
    return {
        "pairs": len(gaps),
        "correlation": _rounded(correlation(gaps, shares)),
        "longer_wins": _rounded(math.fsum(longer) / len(longer)) if longer else None,
    }


def self_preference(groups: Iterable[Group], judged: Verdicts, own: str, gold: Verdicts | None) -> dict[str, Any]:
    """How often responses of the judge's own family of models beat those of others, a tie half.

    excess: the same share minus that of `gold` over the pairs that both have judged, 0 for a fair judge.
    """
    wins: list[float] = []
    gaps: list[float] = []
    for group in groups:
        for a, b in pairs_of(group):
            mine = [family(c.generator.get("model", "")) == own for c in (a, b)]
            place = (group.id, a.id, b.id)
            if mine[0] == mine[1] or place not in judged or not own:
                continue
            wins.append(judged[place] if mine[0] else 1 - judged[place])
            if gold is not None and place in gold:
                gaps.append(wins[-1] - (gold[place] if mine[0] else 1 - gold[place]))
    return {
        "family": own,
        "pairs": len(wins),
        "own_wins": _rounded(math.fsum(wins) / len(wins)) if wins else None,
        "excess": _rounded(math.fsum(gaps) / len(gaps)) if gaps else None,
    }


def family(model: str) -> str:
    """The family in a model's name: `Qwen/Qwen3-4B` is qwen, `gpt-4o-mini` is gpt; its first letters."""
    name = model.rstrip("/").rpartition("/")[2].casefold()
    letters = next((i for i, c in enumerate(name) if not c.isalpha()), len(name))
    return name[:letters]


def tie_rate(judged: Mapping[tuple[str, str, str], float]) -> float | None:
    """Share of ties among the pairs judged."""
    return _rounded(sum(share == 0.5 for share in judged.values()) / len(judged)) if judged else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
