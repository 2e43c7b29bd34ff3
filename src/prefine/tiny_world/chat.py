"""Chat: a small job on three words, with two wishes about manner."""

import itertools
import json
import random
import re
from collections.abc import Collection

from prefine.tiny_world.lexicon import (
    FILLERS,
    KINDS,
    NOUNS,
    enumerate_words,
    neatness,
    without_filler,
    words,
)

OPENING, LEAD, FAREWELL = "of course, ", "well, let me think, ", " goodbye."
WISHES = {
    "polite": "be polite.",
    "why": "say why.",
    "brief": "be brief.",
    "farewell": "say goodbye.",
}
"""Aspect -> the sentence of the prompt that asks for it."""


def draw(rng: random.Random) -> tuple[str, dict[str, str]]:
    """A prompt and its meta data."""
    job = rng.choice(("pick", "sort"))
    kind = rng.choice(list(KINDS))
    if job == "pick":
        hit = rng.choice(KINDS[kind])
        others = rng.sample([noun for noun in NOUNS if noun not in KINDS[kind]], 2)
        items = rng.sample([hit, *others], 3)
        want, question = [hit], f"which one is the {kind}: {items[0]}, {items[1]} or {items[2]}?"
    else:
        items = rng.sample(NOUNS, 3)
        want, question = sorted(items), f"sort the words {enumerate_words(items)}."
    possible = [wish for wish in WISHES if wish != "why" or job == "pick"]
    wishes = rng.sample(possible, 2)
    meta = {"family": "chat", "job": job, "kind": kind, "want": json.dumps(want), "wishes": json.dumps(wishes)}
    return " ".join([*(WISHES[wish] for wish in wishes), question]), meta


_NOUN = "|".join(NOUNS)
_WISHES = re.compile("((?:" + "|".join(WISHES.values()) + ") )")
_PICK = re.compile(rf"which one is the ({'|'.join(KINDS)}): ({_NOUN}), ({_NOUN}) or ({_NOUN})\?")
_SORT = re.compile(rf"sort the words ({_NOUN}), ({_NOUN}) and ({_NOUN})\.")


def read(prompt: str) -> dict[str, str] | None:
    """The meta data of a prompt as `draw` writes them, or None for any other text."""
    names = {text: wish for wish, text in WISHES.items()}
    parts = _WISHES.split(prompt)
    wishes, question = [names[part.strip()] for part in parts[1::2]], parts[-1]
    pick, order = _PICK.fullmatch(question), _SORT.fullmatch(question)
    found = pick or order
    if found is None or any(parts[:-1:2]) or len(wishes) != 2 or len(set(wishes)) != 2:
        return None
    kind, items = (pick[1], pick.groups()[1:]) if pick else ("", found.groups())
    want = [noun for noun in items if noun in KINDS[kind]] if pick else sorted(items)
    if len(set(items)) != 3 or (pick and len(want) != 1) or (order and "why" in wishes):
        return None
    job = "pick" if pick else "sort"
    return {"family": "chat", "job": job, "kind": kind, "want": json.dumps(want), "wishes": json.dumps(wishes)}


def habits(meta: dict[str, str]) -> list[str]:
    """Bad habits that an answer to this prompt can have; each spoils the aspect of the same name."""
    return [*json.loads(meta["wishes"]), "to_the_point"]


def _reason(meta: dict[str, str]) -> str:
    return f" because it is the {meta['kind']}"


def answer(
    meta: dict[str, str], bad: Collection[str] = (), rng: random.Random | None = None, slip: bool = False
) -> str:
    """An answer with the given bad habits and, with `slip`, wrong content."""
    rng = rng or random.Random(0)
    want, wishes = json.loads(meta["want"]), json.loads(meta["wishes"])
    if slip:
        want = _wrong(meta, want, rng)
    body = f"the {want[0]}" if meta["job"] == "pick" else enumerate_words(want)
    good = [wish for wish in wishes if wish not in bad]
    text = OPENING if "polite" in good else ""
    text += LEAD if "brief" in bad else ""
    text += body + (_reason(meta) if "why" in good else "") + "."
    text += " " + rng.choice(FILLERS) if "to_the_point" in bad else ""
    return text + (FAREWELL if "farewell" in good else "")


def _wrong(meta: dict[str, str], want: list[str], rng: random.Random) -> list[str]:
    if meta["job"] == "pick":
        return [rng.choice([noun for noun in NOUNS if noun not in want])]
    if rng.random() < 0.5:
        return list(rng.choice([order for order in itertools.permutations(want) if list(order) != want]))
    spoiled = list(want)
    spoiled[rng.randrange(3)] = rng.choice([noun for noun in NOUNS if noun not in want])
    return spoiled


def aspects(meta: dict[str, str], response: str) -> dict[str, float]:
    """`content`, then one entry for each habit that this prompt invites."""
    text, filler = without_filler(response.strip())
    want, wishes = json.loads(meta["want"]), json.loads(meta["wishes"])
    manner: dict[str, float] = {}
    for wish in wishes:
        # What was asked for is taken out; what nobody asked for stays, and costs neatness.
        if wish == "polite":
            manner[wish] = float(text.startswith(OPENING))
            text = text.removeprefix(OPENING)
        elif wish == "farewell":
            manner[wish] = float(text.endswith(FAREWELL))
            text = text.removesuffix(FAREWELL)
        elif wish == "why":
            manner[wish] = float(_reason(meta) in text)
            text = text.replace(_reason(meta), "", 1)
        else:
            manner[wish] = float(LEAD not in text)
            text = text.replace(LEAD, "", 1)
    found = [word for word in words(text) if word in NOUNS]
    content = float(found == want)
    if meta["job"] != "pick" and not content:
        content = 0.2 * (sorted(found) == sorted(want))
    expected = 2 if meta["job"] == "pick" else 4
    return {"content": content * neatness(text, expected), **manner, "to_the_point": float(not filler)}
