"""The response that nobody has beaten, by comparisons alone."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

from prefine.pair.base import Pairs, TextKey, draw, example, text_key
from prefine.registry import pairers
from prefine.schema import Candidate, Group

AUDIT = ":audit"
"""How the judge of comparisons ends that only check a tournament."""


@pairers.register("champion")
class Champion:
    """The winner of a tournament against one of the losers; no scores are needed.

    Formula: the response that lost no comparison and won more than any other such; rejected: last_loser, the last
    that it beat; random_loser, one that lost to anybody, by hash; lowest_score; first_eliminated, who lost first
    Needs: comparisons, as the labeler `duel` makes them; judge: whose, null for all but those of audits
    """

    group_size = 2
    needs_scores = False

    def __init__(
        self,
        rejected: Literal["last_loser", "random_loser", "lowest_score", "first_eliminated"] = "last_loser",
        judge: str | None = None,
        seed: int = 0,
    ) -> None:
        self.rejected, self.judge, self.seed = rejected, judge, seed

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        writer = {text_key(c): c for c in sorted(group.candidates, key=lambda c: c.id, reverse=True) if c.text.strip()}
        if not group.candidates:
            return [], "no_responses"
        played = self._played(group, writer)
        if not played:
            return [], "no_comparisons"
        wins, lost = Counter(w for w, _ in played), {loser for _, loser in played}
        unbeaten = sorted((n, text) for text, n in wins.items() if text not in lost)
        if not unbeaten or (len(unbeaten) > 1 and unbeaten[-1][0] == unbeaten[-2][0]):
            return [], "no_champion"
        champion = unbeaten[-1][1]
        score = {c.id: s for c, s in zip(group.candidates, scores, strict=True)}
        loser = self._loser(group, champion, played, {text: score[c.id] for text, c in writer.items()}, writer)
        if loser is None:
            return [], "no_loser_with_a_score"
        both = [writer[champion], writer[loser]]
        known = [s for c in both if (s := score[c.id]) is not None]
        return [example(group, both, known if len(known) == 2 and known[0] > known[1] else [])], None

    def _played(self, group: Group, writer: dict[TextKey, Candidate]) -> list[tuple[TextKey, TextKey]]:
        """Winner and loser of every decided comparison, in the order in which they were played."""
        text = {c.id: text_key(c) for c in group.candidates}
        out = []
        for c in group.comparisons:
            mine = c.judge == self.judge if self.judge is not None else not c.judge.endswith(AUDIT)
            if mine and c.outcome in ("a", "b") and c.a in text and c.b in text:
                winner, loser = (c.a, c.b) if c.outcome == "a" else (c.b, c.a)
                if text[winner] != text[loser] and {text[winner], text[loser]} <= writer.keys():
                    out.append((text[winner], text[loser]))
        return out

    def _loser(
        self,
        group: Group,
        champion: TextKey,
        played: list[tuple[TextKey, TextKey]],
        score: dict[TextKey, float | None],
        writer: dict[TextKey, Candidate],
    ) -> TextKey | None:
        losers = list(dict.fromkeys(loser for _, loser in played))
        if self.rejected == "last_loser":
            return [loser for winner, loser in played if winner == champion][-1]
        if self.rejected == "first_eliminated":
            return losers[0]
        if self.rejected == "random_loser":
            return min(losers, key=lambda t: draw(self.seed, "loser", group.id, writer[t].id))
        known = [(s, writer[t].id, t) for t in losers if (s := score[t]) is not None and math.isfinite(s)]
        return min(known)[2] if known else None
