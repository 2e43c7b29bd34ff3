"""Translation into a toy language: subject, object, verb; the adjective follows its noun.

All words of a phrase agree in number (the plural adds `n`), the verb with its subject, and a polite sentence
ends with a particle.
"""

import json
import random
import re
from collections.abc import Collection

from prefine.tiny_world.lexicon import (
    ADJECTIVES,
    FILLERS,
    NOUNS,
    PARTICLE,
    STEMS,
    VERBS,
    neatness,
    without_filler,
    words,
)

_READ = {form: (stem, plural) for stem in STEMS.values() for form, plural in ((stem, False), (stem + "n", True))}


def draw(rng: random.Random) -> tuple[str, dict[str, str]]:
    """A prompt and its meta data. One noun at least is plural, so agreement can always go wrong."""
    nouns, adjectives = rng.sample(NOUNS, 2), rng.sample(ADJECTIVES, 2)
    plural = rng.choice(((True, False), (False, True), (True, True)))
    verb, polite = rng.choice(VERBS), rng.random() < 0.5
    english = [f"the {a} {n}{'s' if many else ''}" for a, n, many in zip(adjectives, nouns, plural, strict=True)]
    sentence = f"{english[0]} {verb}{'' if plural[0] else 's'} {english[1]}."
    (first, second), (many, more) = nouns, plural
    want = [(first, many), (adjectives[0], many), (second, more), (adjectives[1], more), (verb, many)]
    meta = {"family": "translation", "polite": "yes" if polite else "no", "want": json.dumps(want)}
    return f"translate {'politely' if polite else 'this'}: {sentence}", meta


_PHRASE = rf"the ({'|'.join(ADJECTIVES)}) ({'|'.join(NOUNS)})(s?)"
_SENTENCE = re.compile(rf"translate (this|politely): {_PHRASE} ({'|'.join(VERBS)})(s?) {_PHRASE}\.")


def read(prompt: str) -> dict[str, str] | None:
    """The meta data of a prompt as `draw` writes them, or None for any other text."""
    found = _SENTENCE.fullmatch(prompt)
    if found is None:
        return None
    manner, color, noun, many, verb, agrees, other_color, other, more = found.groups()
    if noun == other or color == other_color or not (many or more) or bool(many) == bool(agrees):
        return None
    first, second = bool(many), bool(more)
    want = [(noun, first), (color, first), (other, second), (other_color, second), (verb, first)]
    return {"family": "translation", "polite": "yes" if manner == "politely" else "no", "want": json.dumps(want)}


def habits(meta: dict[str, str]) -> list[str]:
    """Bad habits that an answer to this prompt can have; each spoils the aspect of the same name."""
    return ["order", "agreement", *(["particle"] if meta["polite"] == "yes" else []), "to_the_point"]


def answer(
    meta: dict[str, str], bad: Collection[str] = (), rng: random.Random | None = None, slip: bool = False
) -> str:
    """A translation with the given bad habits and, with `slip`, wrong content."""
    rng = rng or random.Random(0)
    want = json.loads(meta["want"])
    if slip:
        for place in rng.sample(range(5), rng.choice((1, 2))):
            group = NOUNS if place in (0, 2) else VERBS if place == 4 else ADJECTIVES
            want[place][0] = rng.choice([word for word in group if word != want[place][0]])
    toy = [
        STEMS[word] + ("n" if plural and (place in (0, 2) or "agreement" not in bad) else "")
        for place, (word, plural) in enumerate(want)
    ]
    if "order" in bad:
        toy.insert(2, toy.pop())
    if meta["polite"] == "yes" and "particle" not in bad:
        toy.append(PARTICLE)
    return " ".join(toy) + "." + (" " + rng.choice(FILLERS) if "to_the_point" in bad else "")


def aspects(meta: dict[str, str], response: str) -> dict[str, float]:
    """`content`, then one entry for each habit that this prompt invites."""
    text, filler = without_filler(response.strip())
    want = [(STEMS[word], plural) for word, plural in json.loads(meta["want"])]
    toy = words(text)
    particle = bool(toy) and toy[-1] == PARTICLE
    got = [_READ[word] for word in toy if word in _READ]
    stems = [stem for stem, _ in got]
    right = sum(stem in stems for stem, _ in want)
    share = 2 * right / (len(want) + len(stems))
    # A noun carries its number in the meaning; adjectives and verb only agree with it.
    share -= 0.1 * sum((stem, not plural) in got for stem, plural in (want[0], want[2]))
    ranks = [[stem for stem, _ in want].index(stem) for stem in stems if stem in dict(want)]
    wrong = sum((want[place][0], not want[place][1]) in got for place in (1, 3, 4))
    scores = {
        "content": max(0.0, share) ** 4 * neatness(text, 5 + (particle and meta["polite"] == "yes")),
        "order": float(ranks == sorted(ranks) and right > 1),
        "agreement": float(wrong == 0 and right > 1),
    }
    if meta["polite"] == "yes":
        scores["particle"] = float(particle)
    return {**scores, "to_the_point": float(not filler)}
