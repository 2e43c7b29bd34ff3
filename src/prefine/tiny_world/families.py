"""The three task families under their names, streams of prompts, and answers with bad habits."""

import random
from collections.abc import Iterator
from types import ModuleType
from typing import TypedDict

from prefine.tiny_world import chat, summary, translation
from prefine.tiny_world.splits import SPLITS, split_of

FAMILIES: dict[str, ModuleType] = {"chat": chat, "translation": translation, "summarization": summary}

HABIT = 0.62
"""Each bad habit is likelier than not, so greedy decoding shows it, and samples show the good way too."""
SLIP = 0.08
"""Wrong content is rare: content is what the student can do, manner is what it has to learn."""


class Row(TypedDict):
    """One prompt. `task_meta` is flat text (JSON where nested) and holds all that the scorer needs."""

    prompt: str
    task: str
    task_meta: dict[str, str]


class Demonstration(Row):
    """A prompt with a response as the student learned it."""

    completion: str


def stream(split: str, seed: int = 0) -> Iterator[Row]:
    """Distinct prompts of a split without end, the families in turn."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; one of {', '.join(SPLITS)}")
    rng, seen = random.Random(f"{split}-{seed}"), set()
    while True:
        for task, family in FAMILIES.items():
            prompt, meta = family.draw(rng)
            while prompt in seen or split_of(prompt) != split:
                prompt, meta = family.draw(rng)
            seen.add(prompt)
            yield {"prompt": prompt, "task": task, "task_meta": meta}


def flawed(row: Row, rng: random.Random, habit: float = HABIT, slip: float = SLIP) -> str:
    """A response with every bad habit at rate `habit` and wrong content at rate `slip`, independently."""
    family, meta = FAMILIES[row["task"]], row["task_meta"]
    bad = [name for name in family.habits(meta) if rng.random() < habit]
    return family.answer(meta, bad, rng, rng.random() < slip)
