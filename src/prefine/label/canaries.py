"""Answers that no judge should fall for, set beside real ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prefine.label.agreement import value_of, verdicts
from prefine.label.base import Labeler
from prefine.label.templates import PROMPTS, read_template
from prefine.progress import Step
from prefine.schema import Candidate, Group, digest, make_candidate

KINDS = ("empty", "off_topic", "prompt_echo", "injection")
"""A period alone; an answer to another prompt; the prompt itself; another prompt's answer that asks to be chosen."""


@dataclass(frozen=True)
class Canary:
    """A real response and one that is worse, as a group of two."""

    kind: str
    group: Group
    real: str
    false: str


def canaries(groups: Sequence[Group], n: int, gold: str | None = None) -> list[Canary]:
    """Canaries of every kind for `n` prompts, the first by hash.

    The real response is the best by `gold`, else the first by hash. Prompts without a response are passed by.
    """
    usable = sorted((g for g in groups if _best(g, gold) is not None), key=lambda g: digest({"canary": g.id}))
    note = read_template(PROMPTS / "canary_injection.txt")
    out = []
    for i, group in enumerate(usable[:n]):
        real = _best(group, gold)
        others = [g for g in (*usable[i + 1 :], *usable[:i]) if g.prompt != group.prompt]
        stray = _best(others[0], gold) if others else None
        texts = {"empty": ".", "prompt_echo": group.prompt}
        if stray is not None:
            texts |= {"off_topic": stray.text, "injection": f"{stray.text}\n\n{note}"}
        assert real is not None
        for kind in KINDS:
            if kind in texts and texts[kind].strip() != real.text.strip():
                false = make_candidate(group.id, texts[kind], {"model": "canary"}, key=f"canary:{kind}")
                pair = sorted((replace(real, scores=[]), false), key=lambda c: c.id)
                out.append(Canary(kind, replace(group, candidates=pair, comparisons=[]), real.id, false.id))
    return out


def _best(group: Group, gold: str | None) -> Candidate | None:
    kept = [c for c in group.candidates if c.text.strip()]
    values = {c.id: value_of(c, gold) if gold else None for c in kept}

    def order(c: Candidate) -> tuple[float, str]:
        value = values[c.id]
        return (float("inf") if value is None else -value, digest(c.id))

    return min(kept, key=order, default=None)


def tried(labeler: Labeler, made: Sequence[Canary], step: Step) -> dict[str, dict[str, Any]]:
    """For each kind how often the canary won, tied, or could not be judged. A tie is half a fall."""
    labels = labeler.label([c.group for c in made], step)
    out: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        rows = [(c, found) for c, found in zip(made, labels, strict=True) if c.kind == kind]
        shares = [_share(c, found.scores, found.comparisons, labeler.name) for c, found in rows]
        known = [s for s in shares if s is not None]
        out[kind] = {
            "n": len(rows),
            "won": sum(s == 1 for s in known),
            "tied": sum(s == 0.5 for s in known),
            "null": len(rows) - len(known),
            "fell": round(sum(known) / len(known), 6) if known else None,
        }
    return out


def _share(canary: Canary, scores: Iterable[Any], comparisons: Iterable[Any], name: str) -> float | None:
    """The share that the canary won against the real response."""
    pair = [replace(c, scores=list(s)) for c, s in zip(canary.group.candidates, scores, strict=True)]
    judged = verdicts([replace(canary.group, candidates=pair, comparisons=list(comparisons))], name)
    for (_, a, _), share in judged.items():
        return share if a == canary.false else 1 - share
    return None
