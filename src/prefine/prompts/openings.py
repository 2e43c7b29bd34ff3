"""How dialogues begin: with a prompt that is there, or with a line that is written about an aspect of a topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefine.data.split import split_key
from prefine.engines.base import Reply, Request, Sampling
from prefine.engines.chance import sample, weighted
from prefine.engines.replies import json_items
from prefine.engines.texts import load_text
from prefine.errors import PrefineError
from prefine.prompts.asking import ask
from prefine.prompts.turns import turn_fault
from prefine.schema import Group, Message, digest

if TYPE_CHECKING:
    from prefine.engines.session import Session

TEXTS = Path(__file__).parent / "texts"
AREAS = ("questions", "writing", "material")
"""Questions about the world, requests to write, and work on a text that is given."""
LONGEST = 120
"""Words of an opening line."""


@dataclass(frozen=True)
class Opening:
    """The first message of a dialogue, or a prompt of several. `name` is its own: draws and requests go by it."""

    name: str
    messages: list[Message]
    topic: str = ""
    area: str = ""
    split_key: str = ""
    """What decides whether its prompts are held out, where it comes from a seed."""


class Openings:
    """Writes opening lines: topics, aspects of them, a line about each."""

    def __init__(
        self,
        topics: Sequence[str],
        per_topic: int,
        areas: dict[str, float],
        language: str,
        sampling: Sampling,
        max_reasks: int,
    ) -> None:
        self.topics, self.per_topic, self.areas, self.language = topics, per_topic, areas, language
        self.sampling, self.max_reasks = sampling, max_reasks
        self.aspects = load_text(None, TEXTS / "subtopics.txt", ["topic", "count"], ["language"])
        slots = ["persona", "language", "topic", "material"]
        self.lines = {area: load_text(None, TEXTS / f"opening_{area}.txt", [], slots) for area in AREAS}

    def write(
        self, session: Session, seeds: Sequence[Group], persona: Callable[[str], str], counts: Counter[str]
    ) -> list[Opening]:
        """An opening for each aspect of each topic; those that cannot be used are counted.

        In the area `material` a seed, drawn for the aspect, takes its place.
        """
        if not seeds and self.areas.get("material"):
            raise PrefineError("dialogues: the area 'material' takes its texts from seeds, and none is for training")
        subjects = self._subjects(session, counts)
        drawn = [self._plan(topic, seeds) for topic in subjects]
        texts = [seed.prompt if seed else "" for _, _, seed in drawn]
        requests = []
        for topic, (name, area, _), material in zip(subjects, drawn, texts, strict=True):
            text = self.lines[area]
            filled = text.fill(persona=persona(name), language=self.language, topic=topic, material=material)
            message: Message = {"role": "user", "content": filled}
            requests.append(Request((message,), self.sampling, f"dialogues:{area}:{text.version}", name))
        out = []
        lines = ask(session, requests, _line, self.max_reasks, counts)
        for topic, (name, area, seed), line in zip(subjects, drawn, lines, strict=True):
            if line is None:
                counts["openings_not_usable"] += 1
                continue
            text = f"{line}\n\n{seed.prompt}" if seed else line
            key = split_key(seed) if seed else ""
            out.append(Opening(name, [{"role": "user", "content": text}], "" if seed else topic, area, key))
        return out

    def _subjects(self, session: Session, counts: Counter[str]) -> list[str]:
        requests = []
        for topic in self.topics:
            filled = self.aspects.fill(topic=topic, count=str(self.per_topic), language=self.language)
            message: Message = {"role": "user", "content": filled}
            requests.append(Request((message,), self.sampling, f"dialogues:aspects:{self.aspects.version}"))
        found = ask(session, requests, lambda i, reply: json_items(reply.text), self.max_reasks, counts)
        lines = []
        for topic, items in zip(self.topics, found, strict=True):
            texts = [item.strip() for item in items or [] if isinstance(item, str) and item.strip()]
            lines += [f"{topic}: {text}" for text in texts[: self.per_topic]]
        return list(dict.fromkeys(lines))

    def _plan(self, topic: str, seeds: Sequence[Group]) -> tuple[str, str, Group | None]:
        """Name and area of the opening about a topic, and the seed whose text is its material."""
        name = digest({"opening": topic})[:16]
        names = [area for area in AREAS if self.areas.get(area)]
        area = weighted(names, [self.areas[a] for a in names], "area", self.sampling.seed, name)
        seed = sample(seeds, 1, "material", self.sampling.seed, name)[0] if area == "material" else None
        return name, area, seed


def _line(i: int, reply: Reply) -> str | None:
    fault = turn_fault(reply.text, [], longest=LONGEST, max_similarity=1, may_close=False)
    return None if fault or reply.finish_reason == "length" else reply.text.strip().strip('"')
