"""What there is to vote on: two different responses to one prompt, in a seeded order and on seeded sides."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from prefine.evaluate.arena.entrants import Entrant
from prefine.schema import Candidate, Group, digest

NO_PROMPT = "prompts that only some have"
EQUAL = "equal responses"
OTHERWISE = "prompts that read differently"


@dataclass(frozen=True)
class Duel:
    """Responses `a` and `b` to a prompt; `left` says which of them is shown on the left.

    Its id is made of the prompt and both texts alone, so that a vote counts for whoever wrote them.
    """

    id: str
    group: Group
    a: Candidate
    b: Candidate
    left: str

    @property
    def sides(self) -> tuple[Candidate, Candidate]:
        """The responses as they are shown, left and right."""
        return (self.a, self.b) if self.left == "a" else (self.b, self.a)


@dataclass
class Meeting:
    """Two entrants: the prompts on which they can be compared, and what became of the others."""

    first: Entrant
    second: Entrant
    prompts: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def text_hash(text: str) -> str:
    """sha256 of a response's text, 64 hex characters."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def duel_id(prompt: str, *hashes: str) -> str:
    """The identity of a comparison of two texts, whichever is named first."""
    return digest({"duel": prompt, "responses": sorted(hashes)})[:32]


def meet(entrants: Sequence[Entrant]) -> list[Meeting]:
    """Every two entrants with the prompts that both answered, in different words; white space makes no difference."""
    meetings = []
    for first, second in combinations(entrants, 2):
        meeting = Meeting(first, second)
        for prompt in sorted(first.responses.keys() | second.responses.keys()):
            reason = _unfit(first, second, prompt)
            if reason:
                meeting.left_out[reason] += 1
            else:
                meeting.prompts.append(prompt)
        meetings.append(meeting)
    return meetings


def _unfit(first: Entrant, second: Entrant, prompt: str) -> str | None:
    if prompt not in first.responses or prompt not in second.responses:
        return NO_PROMPT
    if first.groups[prompt].messages != second.groups[prompt].messages:
        return OTHERWISE
    texts = [" ".join(e.responses[prompt].text.split()) for e in (first, second)]
    return EQUAL if texts[0] == texts[1] else None


def draw(meetings: Sequence[Meeting], *, seed: int = 0, limit: int | None = None) -> list[Duel]:
    """The duels of all meetings in the order of a seeded hash, the first `limit`; equal ones are one duel."""
    found: dict[str, Duel] = {}
    for meeting in meetings:
        for prompt in meeting.prompts:
            a, b = (_writer(e, prompt) for e in (meeting.first, meeting.second))
            key = duel_id(prompt, text_hash(a.text), text_hash(b.text))
            left = "a" if int(digest(["arena side", seed, key])[:8], 16) % 2 else "b"
            found.setdefault(key, Duel(key, meeting.first.groups[prompt], a, b, left))
    ordered = sorted(found.values(), key=lambda d: digest(["arena order", seed, d.id]))
    return ordered[:limit]


def _writer(entrant: Entrant, prompt: str) -> Candidate:
    """The response with what is known of the model behind it in place of its role in one evaluation."""
    c = entrant.responses[prompt]
    return replace(c, generator=dict(entrant.facts))
