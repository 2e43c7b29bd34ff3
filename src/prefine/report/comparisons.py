"""Every method against its start, and against every other one, on the same prompts: tests, corrected for their number.

Methods with several seeds enter with their mean over seeds for each prompt; what other seeds would give stands apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from prefine.evaluate.paired import DETECTABLE, against_baseline
from prefine.evaluate.seeds import over_seeds
from prefine.evaluate.statistics import preference, share
from prefine.report.collect import Collection, Run

START = "start"
MOST = 12
"""Methods up to which every one is compared with every other; of more, only with the best."""

Values = dict[str, float]
"""A number for each prompt, by the id of its group."""


@dataclass
class Scored:
    """A method's scores of greedy responses by seed and prompt, with those of the start of each seed."""

    method: str
    comparable: str
    seeds: list[int | None] = field(default_factory=list)
    ours: list[Values] = field(default_factory=list)
    starts: list[Values] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return sum(sum(v.values()) / len(v) for v in self.ours) / len(self.ours)


def comparisons(found: Collection) -> list[dict[str, Any]]:
    """What stands under `comparisons` in results.json; empty where no metric says which response is better.

    p-values are by random signs over prompts and adjusted by Holm: those against the start over the methods, those
    between methods over their pairs.
    """
    methods = [s for name, runs in found.methods.items() if (s := scored(name, runs))]
    firsts = {(m.method, START): _duel(m.ours, m.starts, m.seeds, m.seeds) for m in methods if any(m.starts)}
    pairs = {
        (a.method, b.method): _duel(a.ours, b.ours, a.seeds, b.seeds)
        for a, b in _pairs(methods)
        if a.comparable == b.comparable
    }
    return [*_tested(firsts), *_tested(pairs)]


def scored(method: str, runs: list[Run]) -> Scored | None:
    """The scores of a method's greedy responses; None where there are none, or not by one metric."""
    metric = runs[0].scores.get("win_by")
    if metric is None or any(r.scores.get("win_by") != metric for r in runs):
        return None
    if len({r.scores.get("comparable") for r in runs}) > 1:
        return None
    out = Scored(method, str(runs[0].scores.get("comparable")))
    for run in runs:
        out.seeds.append(run.seed)
        out.ours.append(greedy_scores(run, run.role, metric))
        out.starts.append(greedy_scores(run, START, metric) if run.role != START else {})
    return out if all(out.ours) else None


def greedy_scores(run: Run, role: str, metric: str) -> Values:
    """By prompt the score of one role's greedy response, where it has one."""
    out = {}
    for group in run.groups:
        for c in group.candidates:
            if (c.generator.get("role"), c.generator.get("mode")) == (role, "greedy"):
                value = c.score(metric)
                if value is not None:
                    out[group.id] = value
    return out


def _pairs(methods: list[Scored]) -> list[tuple[Scored, Scored]]:
    """Every two methods, the one with the higher mean first; of too many, those with the best one."""
    ranked = sorted(methods, key=lambda m: -m.mean)
    return list(combinations(ranked, 2)) if len(ranked) <= MOST else [(ranked[0], m) for m in ranked[1:]]


@dataclass
class Duel:
    """Two sides on the prompts that both have scores for: by seed and prompt, the share won and the gap."""

    won: list[list[float]]
    gaps: list[list[float]]
    paired: bool
    """Whether the seeds of both sides are the same, so that a row is one seed of both."""


def _duel(ours: list[Values], theirs: list[Values], our_seeds: list[int | None], their_seeds: list[int | None]) -> Duel:
    ids = sorted(set.intersection(*map(set, ours), *map(set, theirs)))
    paired = our_seeds == their_seeds and len(set(our_seeds)) == len(our_seeds)
    sides = zip(ours, theirs, strict=True) if paired else ((a, b) for a in ours for b in theirs)
    sides = list(sides)
    won = [[_won(a[i], b[i]) for i in ids] for a, b in sides]
    return Duel(won, [[a[i] - b[i] for i in ids] for a, b in sides], paired)


def _won(a: float, b: float) -> float:
    found = preference([a], [b])
    return 0.5 if found is None else found[0]


def _tested(duels: Mapping[tuple[str, str], Duel]) -> list[dict[str, Any]]:
    """The comparisons of one family, whose p-values are adjusted together."""
    duels = {pair: d for pair, d in duels.items() if d.won[0]}
    shares = _against(duels, lambda d: [v - 0.5 for v in _mean(d.won)])
    gaps = _against(duels, lambda d: _mean(d.gaps))
    out = []
    for (a, b), duel in duels.items():
        won, test = share(_mean(duel.won)), shares[a, b]
        error = won.standard_error
        out.append(
            {
                "a": a,
                "b": b,
                "win_rate": {
                    **won.as_dict(),
                    "p_value": test["p_value"],
                    "adjusted": test["adjusted"],
                    "detectable": None if error is None else DETECTABLE * error,
                },
                "difference": gaps[a, b],
                "over_seeds": _over_seeds(duel),
            }
        )
    return out


def _against(
    duels: Mapping[tuple[str, str], Duel], values: Callable[[Duel], list[float]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Each duel's values against zero. Duels may differ in their prompts, so missing ones fill them up."""
    rows: dict[tuple[str, str], list[float | None]] = {pair: list(values(d)) for pair, d in duels.items()}
    longest = max(map(len, rows.values()), default=0)
    padded = {pair: [*row, *[None] * (longest - len(row))] for pair, row in rows.items()}
    found = against_baseline(padded, [0.0] * longest)
    return {pair: {**d.as_dict(), "missing": 0} for pair, d in found.items()}


def _mean(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def _over_seeds(duel: Duel) -> dict[str, Any] | None:
    """What other seeds would give of the share won; None for one seed, or where sides do not share their seeds.

    A share ends at 0 and 1, so its interval is cut there; Student's t knows of no ends.
    """
    if not duel.paired or len(duel.won) < 2:
        return None
    found = over_seeds(duel.won).as_dict()
    return found | {k: None if found[k] is None else min(1.0, max(0.0, found[k])) for k in ("low", "high")}


def method_seeds(found: Collection) -> dict[str, dict[str, Any]]:
    """By method, the mean score of several seeds with its interval over seeds and, apart from it, over prompts."""
    out = {}
    for name, runs in found.methods.items():
        made = scored(name, runs) if len(runs) > 1 else None
        ids = sorted(set.intersection(*map(set, made.ours))) if made else []
        if made and ids:
            out[name] = over_seeds([[row[i] for i in ids] for row in made.ours]).as_dict()
    return out
