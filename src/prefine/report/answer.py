"""The answer that the page begins with: which method is best, by how much, and whether that is certain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prefine.report.phrases import chance, interval_text, listed, spread_text
from prefine.report.svg import number, percent

START = "start"
CERTAIN = 0.05
"""Adjusted p-values below this are called certain."""
KEYS = (("win_rate", True), ("gold_greedy", False), ("reward_accuracy", True))
"""What methods are ranked by: the first of these that was measured, and whether it is a share. Win rates come last
where methods began with different models. A method that another one certainly beats is never called the best."""


@dataclass
class Answer:
    """`headline` names the best method, `lines` say by how much and how certain; `certain` None: nothing to tell.

    over_seeds: whether the intervals over seeds say the same as `certain`; None without such intervals.
    """

    headline: str
    lines: list[str] = field(default_factory=list)
    method: str | None = None
    certain: bool | None = None
    over_seeds: bool | None = None


def ranking(data: dict[str, Any]) -> tuple[str, bool, list[dict[str, Any]]]:
    """What the methods are ranked by, whether that is a share, and those that have it, the best first."""
    keys = KEYS if same_start(data) else sorted(KEYS, key=lambda k: k[0] == "win_rate")
    for key, as_percent in keys:
        have = [m for m in data["methods"] if m[key]]
        if have:
            return key, as_percent, sorted(have, key=lambda m: -m[key]["mean"])
    return "", False, []


def answer(data: dict[str, Any]) -> Answer:
    """What the numbers say about the best method."""
    key, as_percent, ranked = ranking(data)
    if not ranked:
        return Answer("Nothing was measured that says which method is better.")
    against = {(c["a"], c["b"]): c for c in data["comparisons"]}
    best = next((m for m in ranked if not _beaten(m["name"], ranked, against)), ranked[0])
    if not best["win_rate"]:
        what = f"{'ranks held-out pairs best' if as_percent else 'has the highest score'}"
        value = spread_text(best[key], as_percent=as_percent)
        single = _only_run(data, best["name"])
        if single and key == "reward_accuracy":
            value = interval_text(single["reward_accuracy"])
        return Answer(f"{best['name']} {what}: {value}.", [_seeds(best)], best["name"])
    first = against.get((best["name"], START))
    duels = _duels(best["name"], [m["name"] for m in ranked if m is not best], against)
    lines, certain = _against_start(best, first)
    lines += [*_against_others(duels), _seeds(best, first), _open_over_seeds(duels)]
    certain = certain and all(d.certain and d.won > 0.5 for d in duels) and len(duels) == len(ranked) - 1
    intervals = [found for found in (seeds_interval(first), *(d.over_seeds for d in duels)) if found]
    stands = not any(map(open_over_seeds, intervals)) if intervals else None
    headline = _headline(best, first, duels, len(ranked))
    made = Answer(headline, [x for x in lines if x], best["name"], certain, stands)
    if not same_start(data):
        made.headline, *made.lines = (x.replace("the start", "its own start") for x in (made.headline, *made.lines))
    return made


@dataclass
class Duel:
    """The best method against another one: the share it won, whether that is certain, and the test behind it."""

    other: str
    won: float
    certain: bool
    test: dict[str, Any]
    over_seeds: tuple[float, float] | None = None
    """Ends of the interval of the share over seeds, where there are three or more."""

    @property
    def open_over_seeds(self) -> bool:
        """Whether other seeds may turn the order around."""
        return open_over_seeds(self.over_seeds)

    def __str__(self) -> str:
        return f"{self.other} ({percent(self.won)}, {chance(self.test['adjusted'])})"


def _duels(best: str, others: list[str], against: dict[tuple[str, str], Any]) -> list[Duel]:
    """The best method against those of the others that it was compared with."""
    out = []
    for name in others:
        if found := against.get((best, name)):
            ends = seeds_interval(found)
            out.append(Duel(name, found["win_rate"]["value"], is_certain(found), found["win_rate"], ends))
        elif found := against.get((name, best)):
            ends = seeds_interval(found)
            turned = (1 - ends[1], 1 - ends[0]) if ends else None
            out.append(Duel(name, 1 - found["win_rate"]["value"], is_certain(found), found["win_rate"], turned))
    return out


def seeds_interval(found: dict[str, Any] | None) -> tuple[float, float] | None:
    """The 95 % interval of the share won over seeds; None with fewer than three of them."""
    over = (found or {}).get("over_seeds") or {}
    return None if over.get("low") is None else (over["low"], over["high"])


def open_over_seeds(ends: tuple[float, float] | None) -> bool:
    """Whether other seeds may turn an order around, as far as that is known."""
    return ends is not None and ends[0] <= 0.5 <= ends[1]


def same_start(data: dict[str, Any]) -> bool:
    """Whether all methods began with the same models, so that their win rates against the start can be compared."""
    starts: dict[str, set[str]] = {}
    for run in data["runs"]:
        starts.setdefault(run["method"], set()).add(str(run["start"]))
    return len(set(map(frozenset, starts.values()))) < 2


def _beaten(name: str, ranked: list[dict[str, Any]], against: dict[tuple[str, str], Any]) -> bool:
    """Whether another method is certainly better head to head."""
    others = [m["name"] for m in ranked if m["name"] != name]
    return any(d.certain and d.won < 0.5 for d in _duels(name, others, against))


def _only_run(data: dict[str, Any], method: str) -> dict[str, Any] | None:
    runs = [r for r in data["runs"] if r["method"] == method]
    return runs[0] if len(runs) == 1 else None


def _headline(best: dict[str, Any], first: dict[str, Any] | None, duels: list[Duel], methods: int) -> str:
    """Who is best, as far as that can be said."""
    name, value = best["name"], best["win_rate"]["mean"]
    won = percent(value)
    if is_certain(first) and value < 0.5:
        who = f"{name} does" if methods == 1 else f"Even the best of {methods} methods, {name}, does"
        return f"{who} worse than the start: it wins {won} of the comparisons with it."
    if not is_certain(first):
        who = name if methods == 1 else f"The best of {methods} methods, {name},"
        return f"{who} cannot be told from the start: it wins {won} of the comparisons with it."
    level = [d.other for d in duels if not d.certain or d.won < 0.5]
    if level:
        who = "all methods" if len(level) == methods - 1 > 1 else listed([name, *level])
        return f"{name} beats the start in {won} of the comparisons; which of {who} is best is not certain."
    if methods == 1:
        return f"{name} beats the start in {won} of the comparisons."
    which = " with these seeds" if any(d.open_over_seeds for d in duels) else ""
    return f"{name} is best{which}: it beats the start in {won} of the comparisons, and every other method."


def is_certain(found: dict[str, Any] | None) -> bool:
    """Whether the share won differs from one half after the correction."""
    p = found["win_rate"]["adjusted"] if found else None
    return p is not None and p < CERTAIN


def _against_start(best: dict[str, Any], first: dict[str, Any] | None) -> tuple[list[str], bool]:
    if first is None:
        return [], False
    won = first["win_rate"]
    what = f"{interval_text(won)} over {won['n']:,} prompts, {chance(won['adjusted'])}"
    if is_certain(first):
        return [f"Against the start this is certain: {what}."], True
    return [f"Against the start this is not certain: {what}. {_detectable(won)}"], False


def _against_others(duels: list[Duel]) -> list[str]:
    """How the best method fares against the others, in one or two sentences."""
    ahead = [str(d) for d in duels if d.certain and d.won > 0.5]
    lost = [str(d) for d in duels if d.certain and d.won <= 0.5]
    level = [d for d in duels if not d.certain]
    out = []
    if ahead:
        out.append(f"Head to head it beats {listed(ahead)}.")
    if lost:
        out.append(f"Head to head it loses to {listed(lost)}, whatever it wins against its start.")
    if level:
        hardest = max((d.test for d in level), key=lambda t: t["detectable"] or 0.0)
        out.append(f"Head to head it cannot be told from {listed([str(d) for d in level])}. {_detectable(hardest)}")
    return out


def _open_over_seeds(duels: list[Duel]) -> str:
    """Which duels that are certain over the prompts other seeds may turn around."""
    told = [
        f"{d.other} ({100 * d.over_seeds[0]:.1f} to {percent(d.over_seeds[1])})"
        for d in duels
        if d.certain and d.over_seeds and d.open_over_seeds
    ]
    if not told:
        return ""
    return (
        "Other seeds may give another order: over seeds, the 95\u202f% interval of the share won includes 50\u202f% "
        f"against {listed(told)}."
    )


def _detectable(won: dict[str, Any]) -> str:
    """What as many prompts could have found."""
    if not won["detectable"]:
        return ""
    return (
        f"With {won['n']:,} prompts a share has to be {number(100 * won['detectable'], 2)} points from 50\u202f% to be "
        "found four times in five."
    )


def _seeds(best: dict[str, Any], first: dict[str, Any] | None = None) -> str:
    """What is known about other training seeds."""
    n = len(best["seeds"])
    if n < 2:
        return "One training seed: how far another seed would move these numbers is not known."
    spread = best.get("win_rate")
    if not spread:
        return ""
    ends, other = seeds_interval(first), ""
    if ends:
        other = f"; 95\u202f% interval of the mean over seeds {100 * ends[0]:.1f} to {percent(ends[1])}"
    return f"Over {n} training seeds: {spread_text(spread)} (mean and standard deviation){other}."
