"""The best response by duels, fewer than all pairs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any, Literal

from prefine.label.asking import scaled
from prefine.label.base import Labels, latest
from prefine.label.pair_labeler import PairLabeler
from prefine.label.pairwise import Match, Verdict, as_comparison, order_facts, unique_texts, won, writers
from prefine.label.strength import has_cycle
from prefine.label.tournament import Champion, RoundRobin, Swiss, Tournament
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Comparison, Group, Score, digest

SCHEDULES: dict[str, type[Tournament]] = {"champion": Champion, "swiss": Swiss, "round_robin": RoundRobin}


@labelers.register("duel")
class Duel(PairLabeler):
    """A tournament of a prompt's responses before one judge; all prompts play their rounds at the same time.

    Formula: champion: 1 for the winner of n - 1 duels and 0 for the others, a tie keeps the king; swiss and
    round_robin: the share won of one's own duels
    Paper: iterative pairwise ranking, Chen et al. 2024 (arXiv:2411.05875); on cycles of judges arXiv:2502.14074
    Defaults: schedule: champion; rounds: of swiss, null is ceil(log2 n); audit: the share of prompts of which all pairs
    are judged to see whether the champion stays and wins go in circles; other settings are those of judge_pairwise
    Needs: an engine, for mode first_token one that tells the first token's probabilities
    """

    def __init__(
        self,
        schedule: Literal["champion", "swiss", "round_robin"] = "champion",
        rounds: int | None = None,
        audit: float = 0.05,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if rounds is not None and (rounds < 1 or schedule != "swiss"):
            raise ValueError("rounds are those of the schedule swiss, 1 or more")
        if not 0 <= audit <= 1:
            raise ValueError(f"audit must be between 0 and 1, not {audit}")
        self.schedule, self.rounds, self.audit = schedule, rounds, audit

    @property
    def auditor(self) -> str:
        """The name under which the duels of the audit are stored: no part of the tournament."""
        return f"{self.name}:audit"

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        return super().prepare(recipe) | {"schedule": self.schedule}

    def calls(self, groups: Iterable[Group]) -> int:
        total = 0
        for group in groups:
            n = len(unique_texts(group))
            audited = self.audited(group) and self.schedule != "round_robin"
            total += n * (n - 1) // 2 if audited else SCHEDULES[self.schedule].most_matches(n, self.rounds)
        return self.judge.calls * total

    def audited(self, group: Group) -> bool:
        """Whether all pairs of this prompt are judged: a share `audit` of prompts, by a hash."""
        return int(digest({"audit": group.id, "seed": self.seed})[:8], 16) < self.audit * 2**32

    def label(self, groups: list[Group], step: Step) -> list[Labels]:
        players = [_players(group) for group in groups]
        games = [self._tournament(len(texts)) for texts in players]
        verdicts: list[dict[tuple[int, int], Verdict]] = [{} for _ in groups]
        planned, responses = self.calls(groups) // self.judge.calls, sum(len(g.candidates) for g in groups)
        counted = scaled(step, responses, planned) if planned else None
        if counted is None:
            step(responses)
        while True:
            due = [(g, pair) for g, game in enumerate(games) for pair in game.next_round()]
            if not due:
                break
            for (g, pair), verdict in self._play(groups, players, due, counted).items():
                verdicts[g][pair] = verdict
            for g in {g for g, _ in due}:
                games[g].record({p: self.judge.won(verdicts[g][p]) for h, p in due if h == g})
        more = [
            (g, pair)
            for g, group in enumerate(groups)
            if self.audited(group) and len(players[g]) > 2
            for pair in combinations(range(len(players[g])), 2)
            if pair not in verdicts[g] and pair[::-1] not in verdicts[g]
        ]
        replayed = self._play(groups, players, more, counted)
        out = []
        for g, group in enumerate(groups):
            labels = self._labels(group, players[g], games[g], verdicts[g])
            extra = {pair: verdict for (h, pair), verdict in replayed.items() if h == g}
            labels.comparisons += self._comparisons(group, players[g], extra, self.auditor)
            out.append(labels)
        return out

    def _tournament(self, n: int) -> Tournament:
        return Swiss(n, self.rounds) if self.schedule == "swiss" else SCHEDULES[self.schedule](n)

    def _play(
        self, groups: list[Group], players: list[list[str]], due: list[tuple[int, tuple[int, int]]], step: Step | None
    ) -> dict[tuple[int, tuple[int, int]], Verdict]:
        """The verdicts on pairs of several groups, all asked about at once."""
        matches = [Match(groups[g], players[g][i], players[g][j]) for g, (i, j) in due]
        return dict(zip(due, self.judge.compare(matches, step), strict=True))

    def _labels(
        self, group: Group, players: list[str], game: Tournament, verdicts: dict[tuple[int, int], Verdict]
    ) -> Labels:
        scores = dict(zip(players, game.scores(), strict=True))
        failed = {players[i]: v.status for pair, v in verdicts.items() for i in pair if v.outcome == "invalid"}
        rows = []
        for c in group.candidates:
            value = scores.get(c.text)
            if value is not None:
                status = "ok"
            elif not c.text.strip():
                status = "empty_response"
            else:
                status = failed.get(c.text, "only_response")
            rows.append([Score(self.name, value, "duel", status=status)])
        return Labels(rows, self._comparisons(group, players, verdicts, self.name))

    def _comparisons(
        self, group: Group, players: list[str], verdicts: dict[tuple[int, int], Verdict], judge: str
    ) -> list[Comparison]:
        ids = writers(group)
        return [as_comparison(v, Match(group, players[i], players[j]), ids, judge) for (i, j), v in verdicts.items()]

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """Number of duels, what the order does to the judge, and what the audit found."""
        rows = list(groups)
        mine = [c for g in rows for c in g.comparisons if c.judge in (self.name, self.auditor)]
        duels = sum(c.judge == self.name for c in mine)
        facts = {"duels": duels, **order_facts(mine), "audit": self.audit_facts(rows)}
        return facts | self.asker.facts()

    def audit_facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """Over prompts with all pairs judged: how often the best of all pairs is the winner, and wins go in circles."""
        seen: Counter[str] = Counter()
        for group in groups:
            rows = [c for c in group.comparisons if c.judge in (self.name, self.auditor)]
            ids = sorted({i for c in rows for i in (c.a, c.b)})
            results = _results(rows, ids, self.judge.how.combine)
            if len(ids) < 3 or len(results) < len(ids) * (len(ids) - 1) // 2:
                continue
            seen["prompts"] += 1
            seen["cycles"] += has_cycle(len(ids), results)
            seen["agree"] += bool(self._winners(group, ids) & _best(ids, results))
        n = seen["prompts"]
        share = {"champion_agreement": seen["agree"], "cycle_rate": seen["cycles"]}
        return {"prompts": n, **{k: round(v / n, 6) if n else None for k, v in share.items()}}

    def _winners(self, group: Group, ids: list[str]) -> set[str]:
        """The responses with the highest score of the tournament."""
        found = {c.id: latest(c, self.name) for c in group.candidates if c.id in ids}
        values = {i: s.value for i, s in found.items() if s is not None and s.value is not None}
        return {i for i, v in values.items() if v == max(values.values())}


def _players(group: Group) -> list[str]:
    """The distinct texts in an order by hash: neither that of their generation nor that of their spelling."""

    def key(text: str) -> bytes:
        return hashlib.sha256(f"{group.id}\0{text}".encode("utf-8", "surrogatepass")).digest()

    return sorted(unique_texts(group), key=key)


def _results(
    rows: Iterable[Comparison], ids: list[str], combine: Literal["strict", "soft"]
) -> dict[tuple[int, int], float]:
    """The share that each pair's first won, by places in `ids`; comparisons without a verdict are left out."""
    out: dict[tuple[int, int], float] = {}
    for c in rows:
        share, i, j = won(c.outcome, c.strength, combine), ids.index(c.a), ids.index(c.b)
        if share is not None:
            out[min(i, j), max(i, j)] = share if i < j else 1 - share
    return out


def _best(ids: list[str], results: dict[tuple[int, int], float]) -> set[str]:
    """Who won the largest share of all pairs."""
    total = dict.fromkeys(range(len(ids)), 0.0)
    for (i, j), share in results.items():
        total[i] += share
        total[j] += 1 - share
    most = max(total.values())
    return {ids[i] for i, t in total.items() if abs(t - most) < 1e-9}
