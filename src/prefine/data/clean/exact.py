"""Prompts that read the same become one, and so do responses within a prompt."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from prefine.data.clean.base import Cleaner, Decided, Row, Rows, Verdict, drop, keep
from prefine.data.clean.text import normal
from prefine.data.clean.votes import comparison_id, settle, winner
from prefine.registry import cleaners
from prefine.schema import Candidate, Example, Group, Message


@cleaners.register("exact_duplicates")
class ExactDuplicates(Cleaner):
    """Prompts that read the same become one with all responses, equal responses of it one; contradictions are settled.

    Groups are merged into the one with the smallest id. Examples are dropped but for the smallest id of each kind.

    Formula: equal under NFKC, casefold and white space collapsed; of judgements both ways the majority, else neither
    Defaults: casefold true; responses true: equal responses are one, with the scores of all
    """

    def __init__(self, casefold: bool = True, responses: bool = True) -> None:
        self.casefold, self.responses = casefold, responses
        self._merging: dict[bytes, _Merge] = {}
        self._votes: dict[bytes, Counter[bytes]] = {}
        self._merged: Counter[int] = Counter()

    def fit(self, rows: Rows) -> None:
        """Remembers a key of 16 bytes for each prompt, and the smallest id and the number of those that repeat."""
        self._merging, self._merged = {}, Counter()
        seen: dict[bytes, tuple[str, int]] = {}
        votes: Counter[tuple[bytes, bytes]] = Counter()
        of_groups = isinstance(next(iter(rows.prompts()), None), Group)
        for row in rows.prompts() if of_groups else rows:
            key = self._key(row)
            first, n = seen.get(key, (row.id, 0))
            seen[key] = min(first, row.id), n + 1
            if isinstance(row, Example):
                votes[self._unordered(row), self._best(row)] += 1
        several = {pair for pair, n in Counter(pair for pair, _ in votes).items() if n > 1}
        self._votes = {pair: Counter() for pair in several}
        for (pair, best), n in votes.items():
            if pair in several:
                self._votes[pair][best] = n
        for key, (first, n) in seen.items():
            if n > 1:
                self._merging[key] = _Merge(first, n)

    def decide(self, row: Row) -> Decided:
        return self._example(row) if isinstance(row, Example) else self._group(row)

    def facts(self) -> dict[str, Any]:
        return {"merged": {str(size): n for size, n in sorted(self._merged.items())}}

    def _group(self, group: Group) -> Decided:
        merge = self._merging.get(self._key(group))
        if merge is None:
            whole, parts = self._within(group)
            return Decided(Verdict(True), [whole], parts)
        merge.groups.append(group)
        verdict = Verdict(True, "merged", {"rows": merge.n})
        if group.id != merge.first or merge.kept:
            verdict = Verdict(False, "duplicate_prompt", {"merged_into": merge.first, **_origin(group)})
        merge.kept = merge.kept or group.id == merge.first
        if len(merge.groups) < merge.n:
            return Decided(verdict)
        self._merged[merge.n] += 1
        whole, parts = self._within(merged(merge.groups))
        merge.groups = []
        return Decided(verdict, [whole], parts)

    def _within(self, group: Group) -> tuple[Group, dict[str, Verdict]]:
        parts: dict[str, Verdict] = {}
        if self.responses:
            group, parts = _one_of_each(group, self.casefold)
        comparisons, settled = settle(group, lambda c: _text(c.completion, self.casefold))
        return replace(group, comparisons=comparisons), {**parts, **settled}

    def _example(self, row: Example) -> Decided:
        votes = self._votes.get(self._unordered(row))
        if votes is not None:
            evidence = {"for": votes[self._best(row)], "against": votes.total() - votes[self._best(row)]}
            if winner(votes) is None:
                return drop("contradiction", **evidence)
            if winner(votes) != self._best(row):
                return drop("outvoted", **evidence)
        merge = self._merging.get(self._key(row))
        if merge is None:
            return keep(row)
        if row.id != merge.first or merge.kept:
            return drop("duplicate_example", duplicate_of=merge.first)
        merge.kept = True
        self._merged[merge.n] += 1
        return keep(row, "repeated", rows=merge.n)

    def _key(self, row: Row) -> bytes:
        prompt = _text(row.messages if isinstance(row, Group) else row.prompt, self.casefold)
        more = [row.task] if isinstance(row, Group) else [_text(r, self.casefold) for r in row.responses]
        # Two labels for one response are two things to learn.
        return _hash(prompt, *more, *(map(str, row.labels) if isinstance(row, Example) else ()))

    def _unordered(self, row: Example) -> bytes:
        return _hash(_text(row.prompt, self.casefold), *sorted(_text(r, self.casefold) for r in row.responses))

    def _best(self, row: Example) -> bytes:
        return _hash(_text(row.responses[0], self.casefold), str(row.labels))


@dataclass
class _Merge:
    """Groups that read the same: the smallest id, how many there are, and those seen so far."""

    first: str
    n: int
    groups: list[Group] = field(default_factory=list)
    kept: bool = False


def merged(groups: list[Group]) -> Group:
    """Groups of one prompt as one with all their responses, the same in whatever order they came."""
    ordered = sorted(groups, key=lambda g: (g.id, [c.id for c in g.candidates], sorted(g.source.items())))
    known: dict[str, list[Candidate]] = {}
    for c in (c for group in ordered for c in group.candidates):
        known.setdefault(c.id, []).append(c)
    source = dict(ordered[0].source)
    for name, glue in (("dataset", " + "), ("row", "; ")):
        texts = [g.source[name] for g in ordered if g.source.get(name)]
        if texts:
            source[name] = glue.join(dict.fromkeys(texts))
    return replace(
        ordered[0],
        candidates=[_joined(same) for same in known.values()],
        comparisons=[c for group in ordered for c in group.comparisons],
        source=source,
        task_meta={k: v for g in reversed(ordered) for k, v in g.task_meta.items()},
        split="test" if any(g.split == "test" for g in ordered) else ordered[0].split,
    )


def _one_of_each(group: Group, casefold: bool) -> tuple[Group, dict[str, Verdict]]:
    """The group with one response per text, that of the smallest id, with all scores and labels; comparisons follow."""
    same: dict[str, list[Candidate]] = {}
    for c in group.candidates:
        same.setdefault(_text(c.completion, casefold), []).append(c)
    if len(same) == len(group.candidates):
        return group, {}
    new_id: dict[str, str] = {}
    parts: dict[str, Verdict] = {}
    kept = []
    for candidates in same.values():
        first, *others = sorted(candidates, key=lambda c: c.id)
        for other in others:
            parts[other.id] = Verdict(False, "duplicate_response", {"duplicate_of": first.id})
            new_id[other.id] = first.id
        kept.append(_joined([first, *others]))
    kept = [replace(c, parent=new_id.get(c.parent, c.parent)) if c.parent in new_id else c for c in kept]
    comparisons = [replace(c, a=new_id.get(c.a, c.a), b=new_id.get(c.b, c.b)) for c in group.comparisons]
    for number, (c, old) in enumerate(zip(comparisons, group.comparisons, strict=True)):
        if c.a == c.b:
            what = Verdict(False, "identical_responses", {"a": old.a, "b": old.b})
            parts[comparison_id(group.id, number, old)] = what
    return replace(group, candidates=kept, comparisons=[c for c in comparisons if c.a != c.b]), parts


def _joined(candidates: list[Candidate]) -> Candidate:
    """The first of some responses with one text, with the labels of all, and of each scorer the mean score."""
    first = candidates[0]
    latest = [{(s.scorer, s.aspect): s for s in c.scores} for c in candidates]
    more = []
    for key in {key: None for scores in latest for key in scores}:
        known = [s for scores in latest if (s := scores.get(key)) is not None and s.value is not None]
        values = [s.value for s in known if s.value is not None]
        mean = math.fsum(values) / len(values) if values else None
        own = latest[0].get(key)
        if own is None or own.value != mean:
            more.append(replace(known[0] if known else latest[-1][key], value=mean))
    labels = {name: label for c in reversed(candidates) for name, label in c.labels.items()}
    return replace(first, scores=first.scores + more, labels=labels)


def _origin(group: Group) -> dict[str, str]:
    return {k: v for k, v in group.source.items() if k in ("dataset", "row")}


def _text(messages: list[Message], casefold: bool) -> str:
    return "\n".join(f"{m['role']}: {normal(m['content'], casefold)}" for m in messages)


def _hash(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
