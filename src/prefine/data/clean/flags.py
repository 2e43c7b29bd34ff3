"""Flags on responses, of which some end a response."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from typing import Any, Literal

from prefine.data.clean.base import Cleaner, Decided, Models, Row, Verdict, keep
from prefine.data.clean.degeneration import flags_of
from prefine.data.clean.refusals import refusals as phrases
from prefine.data.clean.rows import CHOSEN, Response, prompt_text, responses_of
from prefine.errors import PrefineError
from prefine.registry import cleaners
from prefine.schema import Example, Group

REWRITING = ("translation", "summarization")
"""Tasks whose responses may say the prompt again."""

KNOWN = (
    "unfinished",
    "empty",
    "repetitive",
    "copies_prompt",
    "template_residue",
    "control_characters",
    "refusal",
    "secret",
    "wrong_language",
)


@cleaners.register("flags")
class Flags(Cleaner):
    """Finds responses that are unfinished, empty, repetitive, copies of the prompt, leftovers, refusals and so on.

    Every flag is counted by side. Those in `drop` end the response, and a group or example that needs it. A chosen
    refusal is bad where `goal` is helpful; where it is harmless, refusals are the goal and stay.

    Formula: repetitive: over 0.3 of the word 4-grams are repeated, or zlib gets below 0.2; copies_prompt: over 0.9 of
    the 4-grams are the prompt's (not for translation and summarization); refusal: a phrase, and at most 60 words
    Defaults: drop: null is every flag but secret (addresses, keys, card numbers), which is only counted; language:
    module:function that takes a text and returns False for a wrong one, for the flag wrong_language; score: the scorer
    that tells which responses of a group are chosen; refusals: null are the shipped phrases (English, German, French,
    Spanish, Chinese), else a file with a phrase a line: `(a|b)`, `[20]` for up to 20 characters, `@shipped` for those
    """

    def __init__(
        self,
        drop: list[str] | None = None,
        goal: Literal["helpful", "harmless"] = "helpful",
        language: str | None = None,
        score: str | None = None,
        refusals: str | None = None,
    ) -> None:
        if set(drop or ()) - set(KNOWN):
            raise ValueError(f"drop: there is no flag '{min(set(drop or ()) - set(KNOWN))}'; flags: {', '.join(KNOWN)}")
        if language is not None and ":" not in language:
            raise ValueError(f"language must be module:function, not {language}")
        self.drop = [name for name in KNOWN if name != "secret"] if drop is None else drop
        self.goal, self.language, self.score, self.refusals = goal, language, score, refusals
        self._counts: dict[str, Counter[str]] = {}
        self._speaks: Any = None

    def prepare(self, models: Models | None) -> None:
        self._refusing = phrases(self.refusals)
        if self.language is None:
            return
        module, _, name = self.language.partition(":")
        try:
            self._speaks = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise PrefineError(f"flags: language {self.language} cannot be imported: {error}") from error

    def decide(self, row: Row) -> Decided:
        prompt = prompt_text(row)
        rewriting = isinstance(row, Group) and row.task in REWRITING
        ended: dict[str, Verdict] = {}
        for r in responses_of(row, self.score):
            found = flags_of(r.text, prompt, r.finished, rewriting=rewriting, refusing=self._refusing)
            if self._speaks is not None and r.text.strip() and not self._speaks(r.text):
                found["wrong_language"] = str(self.language)
            for name in found:
                self._counts.setdefault(name, Counter())[r.side] += 1
            deadly = [name for name in found if name in self.drop and self._is_bad(name, r)]
            if deadly:
                ended[r.id] = Verdict(False, deadly[0], {"side": r.side, "flags": found})
        return _without(row, ended) if ended else keep(row)

    def _is_bad(self, name: str, response: Response) -> bool:
        return name != "refusal" or (self.goal == "helpful" and response.side == CHOSEN)

    def facts(self) -> dict[str, Any]:
        return {"flags": {name: dict(sorted(sides.items())) for name, sides in sorted(self._counts.items())}}


def _without(row: Row, ended: dict[str, Verdict]) -> Decided:
    """The row without some responses; it ends, too, where none is left, or where an example would lose a side."""
    first = ended[min(ended)]
    if isinstance(row, Example):
        return Decided(Verdict(False, first.reason, first.evidence), parts=ended)
    kept = [c for c in row.candidates if c.id not in ended]
    if not kept:
        return Decided(Verdict(False, first.reason, {"responses": len(ended), **first.evidence}), parts=ended)
    left = [c for c in row.comparisons if c.a not in ended and c.b not in ended]
    if row.comparisons and not left and not any(c.scores or c.labels for c in kept):
        evidence = {"no_comparison_left": True, **first.evidence}
        return Decided(Verdict(False, first.reason, evidence), parts=ended)
    evidence = {"responses_dropped": len(ended)}
    return Decided(Verdict(True, "", evidence), [replace(row, candidates=kept, comparisons=left)], ended)
