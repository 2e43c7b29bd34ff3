"""Responses that are there already, and a teacher's smallest revisions of them: pairs that differ where it matters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from prefine.data.clean.text import normal
from prefine.engines.base import Reply, Request
from prefine.engines.replies import tagged
from prefine.engines.texts import Text, load_text, transcript
from prefine.engines.tries import attempted, failure
from prefine.generate.asking import Asking, written
from prefine.generate.choose import edit_distance
from prefine.generate.rejudge import Rejudge, winner
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import generators
from prefine.schema import Candidate, Comparison, Group, Message

TEXTS = Path(__file__).parent / "texts"
_META = re.compile(
    r"\b(?:revised|improved|corrected|edited|rewritten|updated) (?:version|answer|response|text|reply)\b"
    r"|\b(?:original|previous) (?:answer|response|version)\b"
    r"|\bi(?:['\u2019]ve| have) (?:revised|improved|corrected|edited)\b",
    re.IGNORECASE,
)
_FOREIGN = 0.2
"""Share of letters outside ASCII that a revision may have more or less than its original."""


@dataclass(frozen=True)
class Kind:
    """A way to revise: who wrote it, its text, and whether the result is meant to be better."""

    role: str
    text: Text
    better: bool

    @property
    def failing(self) -> str:
        """Why a judge does not accept the result."""
        return "not_better" if self.better else "not_worse"


@generators.register("clair")
class Clair(Asking):
    """Keeps the responses that a prompt has and adds a teacher's minimal revision of each, preferred to its original.

    A revision knows its `parent`, why it was made and how like it is. The pairer `given` makes the pairs.

    Formula: (chosen, rejected) = (revise(y), y); with worsen also (y, worsen(y)); similarity = 1 - edit distance
    between the words over the longer one's number of words
    Paper: Anchored preference optimization and CLAIR, D'Oosterlinck et al. 2024 (arXiv:2408.06266)
    Defaults: temperature 0.7 and 4,096 tokens, as published; similarity in [0.2, 0.99] and a length ratio in [0.5, 2]
    are asked of a revision; judge: null believes the teacher, `{name: judge_pairwise, engine: {...}}` keeps a revision
    only if this judge prefers it (and a worsened answer only if the original wins); num_responses responses of a prompt
    are revised, the first ones; template: null is texts/revise.txt, else a file with {prompt} and {answer};
    worsen_template likewise, with {aspect}
    Needs: engine, the teacher, and responses to revise
    """

    keeps_given: ClassVar[bool] = True

    def __init__(
        self,
        engine: dict,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 4096,
        min_similarity: float = 0.2,
        max_similarity: float = 0.99,
        max_length_ratio: float = 2.0,
        worsen: bool = False,
        aspect: str = "correctness",
        max_reasks: int = 1,
        judge: dict | None = None,
        template: str | None = None,
        worsen_template: str | None = None,
        seed: int | None = None,
    ) -> None:
        if not 0 <= min_similarity < max_similarity <= 1:
            raise ValueError(f"min_similarity must be below max_similarity, not {min_similarity} and {max_similarity}")
        if not max_length_ratio >= 1:
            raise ValueError(f"max_length_ratio must be 1 or more, not {max_length_ratio}")
        if max_reasks < 0:
            raise ValueError(f"max_reasks must be 0 or more, not {max_reasks}")
        super().__init__(engine, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        self.similarity, self.ratio = (min_similarity, max_similarity), max_length_ratio
        self.worsen, self.aspect, self.max_reasks = worsen, aspect, max_reasks
        self.templates = template, worsen_template
        self.judge = Rejudge(judge) if judge else None
        self._verdicts: dict[tuple[str, str], Comparison] = {}

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        revise, worsen = self.templates
        slots = ["prompt", "answer"]
        self.kinds = [Kind("revision", load_text(revise, TEXTS / "revise.txt", slots), True)]
        if self.worsen:
            text = load_text(worsen, TEXTS / "worsen.txt", slots, ["aspect"])
            self.kinds.append(Kind("worsened", text, False))
        judge = {"judge": self.judge.prepare(recipe)} if self.judge else {}
        return super().prepare(recipe) | {"texts": {kind.role: kind.text.version for kind in self.kinds}} | judge

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        """The given candidates and after them the new ones; nothing where no revision was good enough."""
        self.why = {}
        originals = {g.id: [c for c in g.candidates if c.text.strip()][:num_responses] for g in groups}
        made: dict[str, list[Candidate]] = {g.id: [] for g in groups}
        for kind in self.kinds:
            wanted = [(g, c) for g in groups for c in originals[g.id]]
            counted = step if kind is self.kinds[0] else _silent
            revisions = self._revisions(kind, wanted, counted)
            if self.judge is not None:
                revisions = self._judged(kind, wanted, revisions, self.judge)
            for (group, _), new in zip(wanted, revisions, strict=True):
                made[group.id] += [new] if new else []
        step(sum(num_responses - len(found) for found in originals.values()))
        for group in groups:
            if not originals[group.id]:
                self.why[group.id] = "no_response_to_revise"
        return [[*g.candidates, *made[g.id]] if made[g.id] else [] for g in groups]

    def finished(self, group: Group, candidates: list[Candidate]) -> Group:
        comparisons = list(group.comparisons)
        for c in candidates:
            parent = c.generator.get("parent")
            if parent and c.generator.get("made_by") == "clair" and c not in group.candidates:
                better = c.generator["role"] == "revision"
                a, b = (c.id, parent) if better else (parent, c.id)
                comparisons.append(Comparison(a, b, "a", "clair"))
                verdict = self._verdicts.pop((group.id, c.id), None)
                comparisons += [verdict] if verdict else []
        return replace(group, candidates=candidates, comparisons=comparisons)

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """How like their originals the accepted revisions are, in tenths."""
        tenths: Counter[str] = Counter()
        for group in groups:
            for c in group.candidates:
                if c.generator.get("made_by") == "clair":
                    tenths[f"{min(int(10 * float(c.generator['similarity'])), 9) / 10:.1f}"] += 1
        judge = {"judged": self.judge.facts()} if self.judge else {}
        return super().facts(groups) | {"similarity": dict(sorted(tenths.items()))} | judge

    def close(self) -> None:
        super().close()
        if self.judge is not None:
            self.judge.close()

    def _judged(
        self, kind: Kind, wanted: list[tuple[Group, Candidate]], made: list[Candidate | None], judge: Rejudge
    ) -> list[Candidate | None]:
        """What was made, without what the judge does not find better (or, where it is to be worse, worse)."""
        out: list[Candidate | None] = [None] * len(made)
        places = [(i, new) for i, new in enumerate(made) if new is not None]
        verdicts = judge.verdicts([(*wanted[i], new) for i, new in places], _silent)
        for (i, new), verdict in zip(places, verdicts, strict=True):
            group, original = wanted[i]
            if winner(verdict) == (new if kind.better else original).id:
                out[i] = new
                self._verdicts[group.id, new.id] = verdict
            else:
                self._leave_out(group, kind, "no_verdict" if verdict.outcome == "invalid" else kind.failing)
        return out

    def _leave_out(self, group: Group, kind: Kind, reason: str) -> None:
        self.counts[f"{kind.role}_{reason}"] += 1
        self.why.setdefault(group.id, f"{kind.role}_{reason}")

    def _revisions(self, kind: Kind, wanted: list[tuple[Group, Candidate]], step: Step) -> list[Candidate | None]:
        out: list[Candidate | None] = [None] * len(wanted)
        pending = list(range(len(wanted)))
        for attempt in range(self.max_reasks + 1):
            requests = [self._request(kind, *wanted[i], attempt) for i in pending]
            replies = self.session.ask(requests, step if attempt == 0 else None)
            again = []
            for i, request, reply in zip(pending, requests, replies, strict=True):
                reason = self._read(kind, *wanted[i], reply, out, i)
                if reason == "unreadable":
                    self.session.unparsed(request, reason)
                if reason == "unreadable" and attempt < self.max_reasks:
                    again.append(i)
                elif reason is not None:
                    self._leave_out(wanted[i][0], kind, reason)
            pending = again
        return out

    def _read(
        self, kind: Kind, group: Group, original: Candidate, reply: Reply, out: list[Candidate | None], i: int
    ) -> str | None:
        """Put the revision in its place, or say why there is none."""
        reason = failure(reply) or ("cut" if reply.finish_reason == "length" else None)
        text = None if reason else tagged(reply.text, "revision")
        if reason or not text:
            return reason or "unreadable"
        reason = self.fault(original.text, text)
        if reason is None:
            likeness = f"{1 - edit_distance(original.text, text):.4f}"
            more = {"role": kind.role, "made_by": "clair", "parent": original.id, "similarity": likeness}
            reasons = tagged(reply.text, "reasons")
            more |= {"rationale": reasons} if reasons else {}
            more |= {} if kind.better else {"aspect": self.aspect}
            # Its length in tokens and log-probs are those of the whole reply, so they are not the revision's.
            whole = replace(reply, completion_tokens=0, logps=None)
            out[i] = replace(written(group.id, text, whole, self.writer(**more)), parent=original.id)
        return reason

    def fault(self, original: str, revision: str) -> str | None:
        """Why a revision is not accepted, as a short name, or None."""
        if normal(original, casefold=False) == normal(revision, casefold=False):
            return "unchanged"
        likeness = 1 - edit_distance(original, revision)
        if likeness > self.similarity[1]:
            return "too_similar"
        if likeness < self.similarity[0]:
            return "too_different"
        lengths = sorted(len(t.split()) for t in (original, revision))
        if lengths[1] > self.ratio * lengths[0]:
            return "length"
        if _META.search(revision) and not _META.search(original):
            return "talks_of_revising"
        return "other_language" if abs(_foreign(original) - _foreign(revision)) > _FOREIGN else None

    def _request(self, kind: Kind, group: Group, original: Candidate, attempt: int) -> Request:
        filled = kind.text.fill(prompt=transcript(group.messages), answer=original.text, aspect=self.aspect)
        message: Message = {"role": "user", "content": filled}
        tag = f"{group.id}:{original.id}"
        return attempted(Request((message,), self.sampling, f"clair:{kind.text.version}", tag), attempt)


def _foreign(text: str) -> float:
    """Share of the letters that are not ASCII."""
    letters = [c for c in text if c.isalpha()]
    return sum(not c.isascii() for c in letters) / len(letters) if letters else 0.0


def _silent(n: float = 1, *, note: str | None = None) -> None:
    """A step that nobody watches."""
