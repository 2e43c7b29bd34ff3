"""What the votes say: win rates between the entrants, and how far each judge agrees with the people."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefine.evaluate.arena.duels import Duel, Meeting, draw, duel_id, meet, text_hash
from prefine.evaluate.arena.entrants import Entrant
from prefine.evaluate.arena.votes import Vote, judge_of, read_votes, votes_files
from prefine.evaluate.statistics import share
from prefine.label.agreement import agreement, verdicts
from prefine.schema import Comparison, Group

PEOPLE = "people"
"""The judge that all voters are together; a majority decides."""
JUDGED = ("label", "evaluate")
"""Stages whose rows may have comparisons of the same responses."""


def findings(entrants: Sequence[Entrant], files: Iterable[Path] | None = None) -> dict[str, Any]:
    """What all votes on these entrants' responses say: `pairs`, `habits`, `judges`, and the `files` of votes.

    Without `files` the votes are those that are kept beside the entrants' runs.
    """
    meetings = meet(entrants)
    duels = draw(meetings)
    known = {d.id for d in duels}
    found = list(votes_files(e.run.path for e in entrants) if files is None else files)
    cast = [v for v in read_votes(found) if v.duel in known]
    facts = {"pairs": win_rates(meetings, cast), "habits": habits(cast), "judges": judges(duels, meetings, cast)}
    return {**facts, "files": [str(f) for f in found]}


def win_rates(meetings: Sequence[Meeting], votes: Sequence[Vote], *, seed: int = 0) -> list[dict[str, Any]]:
    """For every two entrants how often the first won, ties half, with its 95 % interval over prompts.

    `n` prompts have a vote; of several voters' votes on a prompt the mean counts. `left_out` are prompts without a
    duel, by reason, `skipped` votes that were no verdict.
    """
    by_duel: dict[str, list[Vote]] = {}
    for vote in votes:
        by_duel.setdefault(vote.duel, []).append(vote)
    out = []
    for meeting in meetings:
        counts: Counter[str] = Counter()
        values = []
        for prompt in meeting.prompts:
            ours, theirs = (text_hash(e.responses[prompt].text) for e in (meeting.first, meeting.second))
            cast = [v.value(ours) for v in by_duel.get(duel_id(prompt, ours, theirs), [])]
            said = [v for v in cast if v is not None]
            counts.update({1.0: "wins", 0.0: "losses"}.get(v, "ties") for v in said)
            counts["skipped"] += len(cast) - len(said)
            values += [statistics.fmean(said)] if said else []
        found = share(values, seed=seed)
        out.append(
            {
                "first": meeting.first.name,
                "second": meeting.second.name,
                **{k: counts[k] for k in ("wins", "losses", "ties", "skipped")},
                **found.as_dict(),
                "prompts": len(meeting.prompts),
                "left_out": dict(sorted(meeting.left_out.items())),
            }
        )
    return out


def habits(votes: Sequence[Vote]) -> dict[str, Any]:
    """How people voted: how many, how often the left side won of those that decided, the median of the seconds."""
    decided = [v for v in votes if v.outcome in ("a", "b")]
    seconds = [v.seconds for v in votes if v.seconds is not None and v.outcome != "invalid"]
    return {
        "votes": sum(v.outcome != "invalid" for v in votes),
        "skipped": sum(v.outcome == "invalid" for v in votes),
        "left_wins": share([float(v.outcome == v.left) for v in decided]).as_dict(),
        "median_seconds": statistics.median(seconds) if seconds else None,
    }


def judges(duels: Sequence[Duel], meetings: Sequence[Meeting], votes: Sequence[Vote]) -> list[dict[str, Any]]:
    """How far everyone who judged pairs that people voted on agrees with them: kappa, and accuracy where they decided.

    Judges are the metrics of the evaluations (the lower value wins where less is better) and the comparisons in the
    rows of these runs, both against all people together, and every voter against the others together.
    """
    groups = _voted(duels, votes)
    people = verdicts(groups, PEOPLE)
    out = []
    for name, higher in sorted(_metrics(groups, meetings).items()):
        found = verdicts(groups, name)
        found = found if higher else {place: 1 - value for place, value in found.items()}
        out.append({"judge": name, "against": PEOPLE, **agreement(found, people)})
    for name in _add_comparisons(groups, meetings):
        out.append({"judge": name, "against": PEOPLE, **agreement(verdicts(groups, name), people)})
    voters = sorted({v.voter for v in votes})
    for voter in voters if len(voters) > 1 else []:
        own, others = ([v for v in votes if (v.voter == voter) == mine] for mine in (True, False))
        found = agreement(verdicts(_voted(duels, own), PEOPLE), verdicts(_voted(duels, others), PEOPLE))
        out.append({"judge": judge_of(voter), "against": "the other voters", **found})
    return [row for row in out if row["pairs"]]


def _voted(duels: Sequence[Duel], votes: Sequence[Vote]) -> list[Group]:
    """The prompts with verdicts: the responses that met, and all verdicts as comparisons of one judge, the people."""
    by_duel: dict[str, list[Vote]] = {}
    for vote in votes:
        if vote.outcome != "invalid":
            by_duel.setdefault(vote.duel, []).append(vote)
    groups: dict[str, Group] = {}
    for duel in duels:
        if duel.id in by_duel:
            group = groups.setdefault(duel.group.id, replace(duel.group, candidates=[], comparisons=[]))
            known = {c.text for c in group.candidates}
            group.candidates += [c for c in (duel.a, duel.b) if c.text not in known]
            ids = {text_hash(c.text): c.id for c in group.candidates}
            for vote in by_duel[duel.id]:
                a, b = (ids[h] for h in vote.responses)
                group.comparisons.append(Comparison(a, b, vote.outcome, PEOPLE))
    return list(groups.values())


def _metrics(groups: Sequence[Group], meetings: Sequence[Meeting]) -> dict[str, bool]:
    """The scorers of these responses (with their aspects, after a dot), and whether more is better."""
    higher = {name: up for m in meetings for e in (m.first, m.second) for name, up in e.higher.items()}
    scores = {(s.scorer, s.aspect) for g in groups for c in g.candidates for s in c.scores if s.value is not None}
    return {f"{name}.{aspect}" if aspect else name: higher.get(name, True) for name, aspect in scores}


def _add_comparisons(groups: Sequence[Group], meetings: Sequence[Meeting]) -> list[str]:
    """Add to each prompt the comparisons of its responses that the runs have; returns the judges that made any."""
    by_id = {g.id: g for g in groups}
    runs = {e.run.path.resolve(): e.run for m in meetings for e in (m.first, m.second)}
    found: set[str] = set()
    for folder in (f for run in runs.values() for stage in JUDGED for f in run.results(stage)):
        for row in folder.groups() if folder.parts else ():
            group = by_id.get(row.id)
            if group is None or not row.comparisons:
                continue
            ids = {c.text: c.id for c in group.candidates}
            text = {c.id: c.text for c in row.candidates}
            for c in row.comparisons:
                a, b = ids.get(text.get(c.a, "")), ids.get(text.get(c.b, ""))
                if a and b and a != b:
                    group.comparisons.append(replace(c, a=a, b=b))
                    found.add(c.judge)
    return sorted(found)
