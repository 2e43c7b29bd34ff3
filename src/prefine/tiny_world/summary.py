"""Summaries: two short facts about two people; say both in one sentence, and leave the adjectives out."""

import json
import random
import re
from collections.abc import Collection

from prefine.tiny_world.lexicon import (
    ADJECTIVES,
    DEEDS,
    FILLERS,
    NAMES,
    NOUNS,
    neatness,
    without_filler,
)

OPENING = "in short, "
_NAME, _DEED, _ADJECTIVE, _NOUN = ("|".join(pool) for pool in (NAMES, DEEDS, ADJECTIVES, NOUNS))
_FACT = re.compile(rf"\b({_NAME}) ({_DEED}) the (?:({_ADJECTIVE}) )?({_NOUN})\b")


def draw(rng: random.Random) -> tuple[str, dict[str, str]]:
    """A prompt and its meta data."""
    names, deeds, adjectives, nouns = (rng.sample(pool, 2) for pool in (NAMES, DEEDS, ADJECTIVES, NOUNS))
    facts = list(zip(names, deeds, adjectives, nouns, strict=True))
    opening = rng.random() < 0.5
    text = " ".join(f"{name} {deed} the {adjective} {noun}." for name, deed, adjective, noun in facts)
    meta = {"family": "summarization", "opening": "yes" if opening else "no", "want": json.dumps(facts)}
    return f"sum up{' and start with in short' if opening else ''}: {text}", meta


_PROMPT = re.compile(
    rf"sum up( and start with in short)?: ({_NAME}) ({_DEED}) the ({_ADJECTIVE}) ({_NOUN})\. "
    rf"({_NAME}) ({_DEED}) the ({_ADJECTIVE}) ({_NOUN})\."
)


def read(prompt: str) -> dict[str, str] | None:
    """The meta data of a prompt as `draw` writes them, or None for any other text."""
    found = _PROMPT.fullmatch(prompt)
    if found is None:
        return None
    opening, *fact = found.groups()
    facts = [fact[:4], fact[4:]]
    if any(a == b for a, b in zip(*facts, strict=True)):
        return None
    return {"family": "summarization", "opening": "yes" if opening else "no", "want": json.dumps(facts)}


def habits(meta: dict[str, str]) -> list[str]:
    """Bad habits that an answer to this prompt can have; each spoils the aspect of the same name."""
    return [*(["opening"] if meta["opening"] == "yes" else []), "complete", "short", "to_the_point"]


def answer(
    meta: dict[str, str], bad: Collection[str] = (), rng: random.Random | None = None, slip: bool = False
) -> str:
    """A summary with the given bad habits and, with `slip`, wrong content."""
    rng = rng or random.Random(0)
    facts = json.loads(meta["want"])
    if slip:
        facts = _wrong(facts, rng)
    if "complete" in bad:
        facts = facts[:1]
    said = [
        f"{name} {deed} the {adjective + ' ' if 'short' in bad else ''}{noun}" for name, deed, adjective, noun in facts
    ]
    text = OPENING if meta["opening"] == "yes" and "opening" not in bad else ""
    text += " and ".join(said) + "."
    return text + (" " + rng.choice(FILLERS) if "to_the_point" in bad else "")


def _wrong(facts: list[list[str]], rng: random.Random) -> list[list[str]]:
    """Every fact with one false part, so that a summary of one fact is wrong too."""
    place = rng.choice((0, 1, 3))
    if rng.random() < 0.3:
        swapped = [list(fact) for fact in facts]
        swapped[0][place], swapped[1][place] = facts[1][place], facts[0][place]
        return swapped
    pool = {0: NAMES, 1: DEEDS, 3: NOUNS}[place]
    used = [fact[place] for fact in facts]
    fresh = rng.sample([word for word in pool if word not in used], 2)
    return [[*fact[:place], word, *fact[place + 1 :]] for fact, word in zip(facts, fresh, strict=True)]


def aspects(meta: dict[str, str], response: str) -> dict[str, float]:
    """`content`, then one entry for each habit that this prompt invites."""
    text, filler = without_filler(response.strip())
    scores: dict[str, float] = {}
    if meta["opening"] == "yes":
        scores["opening"] = float(text.startswith(OPENING))
        text = text.removeprefix(OPENING)
    want = {(name, deed, noun) for name, deed, _, noun in json.loads(meta["want"])}
    facts = _FACT.findall(text)
    true = {(name, deed, noun) for name, deed, _, noun in facts} & want
    content = (len(true) / len(facts)) ** 2 if facts else 0.0
    adjectives = sum(bool(adjective) for _, _, adjective, _ in facts)
    content *= neatness(text, 4 * len(facts) + (len(facts) > 1) + adjectives)
    return {
        "content": content,
        **scores,
        "complete": float(true == want),
        "short": float(not adjectives),
        "to_the_point": float(not filler),
    }
