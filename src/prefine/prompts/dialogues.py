"""Conversations of a simulated user with an assistant, and prompts cut out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefine.data.split import split_key
from prefine.engines.base import Reply, Request
from prefine.engines.chance import sample, unit, weighted
from prefine.engines.drawing import Drawing
from prefine.engines.texts import load_lines, load_text
from prefine.errors import PrefineError
from prefine.progress import Step
from prefine.prompts.asking import ask
from prefine.prompts.base import Maker, Write, as_committed, open_session
from prefine.prompts.openings import AREAS, Opening, Openings
from prefine.prompts.turns import turn_fault
from prefine.recipe import Recipe
from prefine.registry import makers
from prefine.rundir import Counts
from prefine.schema import Group, Message, make_candidate, make_group

if TYPE_CHECKING:
    from prefine.engines.session import Session

TEXTS = Path(__file__).parent / "texts"
PART = 64
"""Dialogues that are led side by side, and committed together."""


@dataclass
class Dialogue:
    """A conversation under way. `turns`: how many turns of the user it is to have."""

    opening: Opening
    turns: int
    persona: str
    messages: list[Message]
    ends: dict[int, Reply] = field(default_factory=dict)
    """The assistant's replies by their place among the messages."""
    going: bool = True
    fault: str | None = None
    """Why it ended before its time."""

    @property
    def user_turns(self) -> list[int]:
        """Places of the user's messages that have an answer."""
        return [place - 1 for place in sorted(self.ends)]


@makers.register("dialogues")
class Dialogues(Drawing, Maker):
    """A simulated user talks with an assistant; each dialogue gives a prompt that ends with one of the user's turns.

    The user's simulator sees the conversation with swapped roles: what it has said itself is the assistant's part.

    Formula: number of user turns drawn by the weights `turns`; the cut is uniform over the turns, by a hash
    Paper: UltraChat, Ding et al. 2023 (arXiv:2305.14233)
    Defaults: opening: seeds begins with the seeds' prompts, topics with a line that the simulator writes about aspects
    of the topics of a file, in three areas: questions, writing, and material (a seed's text); turns: weights of 1, 2,
    3 ... turns; cut: hash, last or every; user_engine: null is `engine`; simulator: continue lets an engine that can
    (user_turn) write the user's turn in its own place; personas: a file with one a line; template: null is
    texts/simulator.txt, else a file with {persona}, {topic}, {language}
    Needs: engine, the assistant
    """

    def __init__(
        self,
        engine: dict,
        user_engine: dict | None = None,
        opening: Literal["seeds", "topics"] = "seeds",
        topics: str | None = None,
        per_topic: int = 4,
        areas: dict[str, float] | None = None,
        max_dialogues: int | None = None,
        turns: list[float] = [0.0, 1.0, 1.0, 1.0],  # noqa: B006
        min_turns: int = 1,
        cut: Literal["hash", "last", "every"] = "hash",
        responses: bool = True,
        simulator: Literal["swapped", "continue"] = "swapped",
        personas: str | None = None,
        template: str | None = None,
        language: str = "English",
        max_words: int = 120,
        max_similarity: float = 0.7,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        max_reasks: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__(temperature, top_p, max_tokens=max_tokens, seed=seed)
        if opening == "topics" and topics is None:
            raise ValueError("opening: topics needs the setting topics, a file with a topic a line")
        if opening == "seeds" and topics is not None:
            raise ValueError("topics are for opening: topics")
        if not turns or min(turns) < 0 or not sum(turns) > 0:
            raise ValueError("turns must be weights of 1, 2, 3 ... turns, 0 or more and not all 0")
        if not 1 <= min_turns <= len(turns):
            raise ValueError(f"min_turns must be from 1 to the {len(turns)} turns that are possible, not {min_turns}")
        if min(per_topic, max_words) < 1:
            raise ValueError("per_topic and max_words must be 1 or more")
        if max_dialogues is not None and max_dialogues < 1:
            raise ValueError(f"max_dialogues must be 1 or more, not {max_dialogues}")
        if areas and (set(areas) - set(AREAS) or min(areas.values()) < 0 or not sum(areas.values()) > 0):
            raise ValueError(f"areas must be weights of {', '.join(AREAS)}, 0 or more and not all 0")
        if not 0 < max_similarity <= 1:
            raise ValueError(f"max_similarity must be above 0 and at most 1, not {max_similarity}")
        if max_reasks < 0:
            raise ValueError(f"max_reasks must be 0 or more, not {max_reasks}")
        self.block, self.user_block = engine, user_engine
        self.opening, self.topics_file, self.per_topic = opening, topics, per_topic
        self.areas, self.max_dialogues = areas or dict.fromkeys(AREAS, 1.0), max_dialogues
        self.turns, self.min_turns, self.cut, self.responses = turns, min_turns, cut, responses
        self.simulator, self.personas_file, self.template = simulator, personas, template
        self.language, self.max_words, self.max_similarity = language, max_words, max_similarity
        self.max_reasks = max_reasks
        self.counts: Counter[str] = Counter()
        self._sessions: list[Session] = []

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self.text = load_text(self.template, TEXTS / "simulator.txt", [], ["persona", "topic", "language"])
        self.personas = load_lines(self.personas_file, TEXTS / "personas.txt")
        topics = load_lines(self.topics_file)
        self.sampling = self.seeded(recipe)
        self.seed = self.sampling.seed
        blocks = [self.block] + ([self.user_block] if self.user_block else [])
        for block in blocks:
            self._sessions.append(open_session(block, recipe))
        if self.simulator == "continue" and "user_turn" not in self._sessions[-1].engine.features:
            name = blocks[-1].get("name")
            raise PrefineError(f"dialogues: the engine '{name}' cannot write a user's turn; use simulator: swapped")
        self.openings = Openings(topics, self.per_topic, self.areas, self.language, self.sampling, self.max_reasks)
        identities = {"assistant": self.assistant.identity, "user": self.user.identity}
        return {"maker": {**identities, "seed": str(self.seed), "texts": {"simulator": self.text.version}}}

    @property
    def assistant(self) -> Session:
        return self._sessions[0]

    @property
    def user(self) -> Session:
        return self._sessions[-1]

    def make(self, seeds: list[Group], write: Write, done: list[Group], step: Step) -> Counts:
        """Parts of dialogues, each led to its end and committed at once."""
        starts = self._starts(seeds)
        counts, taken = Counts(len(starts)), {g.id for g in seeds}
        committed = {g.source["part"] for g in done}
        for part in range(0, len(starts), PART):
            led = self._lead([self._begin(o) for o in starts[part : part + PART]])
            new = self._prompts(led, f"{part // PART}", taken, counts)
            if f"{part // PART}" in committed:
                new = as_committed(new, [g for g in done if g.source["part"] == f"{part // PART}"], counts)
            else:
                write(new)
                step(len(new))
            taken |= {g.id for g in new}
            counts.rows_out += len(new)
        for name, value in self.counts.items():
            counts.note(name, value)
        return counts

    def facts(self) -> dict[str, Any]:
        names = ["assistant", "user"] if len(self._sessions) == 2 else ["session"]
        return {name: session.facts() for name, session in zip(names, self._sessions, strict=True)}

    def close(self) -> None:
        while self._sessions:
            self._sessions.pop().close()

    def _starts(self, seeds: list[Group]) -> list[Opening]:
        """How each dialogue begins; `max_dialogues` of them, the first by hash."""
        training = [g for g in seeds if g.split != "test"]
        if self.opening == "seeds":
            usable = [g for g in training if g.messages[-1]["role"] == "user"]
            found = [Opening(g.id, list(g.messages), split_key=split_key(g)) for g in usable]
        else:
            found = self.openings.write(self.user, training, self._persona, self.counts)
        if not found:
            raise PrefineError("dialogues: there is nothing to begin with: no seed for training ends with a user")
        if self.max_dialogues is not None and len(found) > self.max_dialogues:
            found = sorted(found, key=lambda o: unit("dialogue", self.seed, o.name))[: self.max_dialogues]
        return found

    def _persona(self, name: str) -> str:
        return sample(self.personas, 1, "persona", self.seed, name)[0]

    def _begin(self, opening: Opening) -> Dialogue:
        n = weighted(range(1, len(self.turns) + 1), self.turns, "turns", self.seed, opening.name)
        return Dialogue(opening, n, self._persona(opening.name), list(opening.messages))

    def _lead(self, dialogues: list[Dialogue]) -> list[Dialogue]:
        """Turn by turn, all dialogues at once; the replies are asked for by the whole conversation before them."""
        for _ in range(len(self.turns)):
            self._answer([d for d in dialogues if d.going])
            for d in dialogues:
                d.going = d.going and len(d.ends) < d.turns
            self._go_on([d for d in dialogues if d.going])
        return dialogues

    def _answer(self, dialogues: list[Dialogue]) -> None:
        requests = [Request(tuple(d.messages), self.sampling, "dialogues:answer", d.opening.name) for d in dialogues]
        # A cut answer would break off in the middle of a conversation.
        replies = ask(self.assistant, requests, _whole, self.max_reasks, self.counts)
        for d, reply in zip(dialogues, replies, strict=True):
            if reply is None:
                d.going, d.fault = False, "no_answer"
            else:
                d.ends[len(d.messages)] = reply
                d.messages.append({"role": "assistant", "content": reply.text.strip()})

    def _go_on(self, dialogues: list[Dialogue]) -> None:
        purpose = f"dialogues:user:{self.text.version}"
        requests = [Request(tuple(self._seen(d)), self.sampling, purpose, d.opening.name) for d in dialogues]

        def read(i: int, reply: Reply) -> str | None:
            d = dialogues[i]
            reason = "cut" if reply.finish_reason == "length" else None
            reason = reason or turn_fault(
                reply.text,
                d.messages,
                longest=self.max_words,
                max_similarity=self.max_similarity,
                may_close=len(d.ends) >= self.min_turns,
            )
            if reason is not None:
                self.counts[f"user_turn_{reason}"] += 1
            return None if reason else reply.text.strip()

        for d, text in zip(dialogues, ask(self.user, requests, read, self.max_reasks, self.counts), strict=True):
            if text is None:
                d.going, d.fault = False, "no_user_turn"
            else:
                d.messages.append({"role": "user", "content": text})

    def _seen(self, dialogue: Dialogue) -> list[Message]:
        """What the simulator is shown."""
        if self.simulator == "continue":
            return dialogue.messages
        topic = f"The conversation is about this: {dialogue.opening.topic}" if dialogue.opening.topic else ""
        text = self.text.fill(persona=dialogue.persona, topic=topic, language=self.language)
        return [{"role": "user", "content": text}, *swapped(dialogue.messages)]

    def _prompts(self, led: list[Dialogue], part: str, taken: set[str], counts: Counts) -> list[Group]:
        out: list[Group] = []
        taken = set(taken)
        for d in led:
            cuts = self._cuts(d) if len(d.ends) >= self.min_turns else []
            counts.rows_in += max(len(cuts), 1) - 1
            if not cuts:
                counts.drop(d.fault or "no_turn_of_its_own")
            for place in cuts:
                group = self._group(d, place, part)
                if group.id in taken:
                    counts.drop("same_prompt_as_another")
                else:
                    taken.add(group.id)
                    out.append(group)
        return out

    def _cuts(self, d: Dialogue) -> list[int]:
        """Places of the user's turns with which prompts end; a seed by itself is no new prompt."""
        own = len(d.opening.messages) if self.opening == "seeds" else 0
        places = [place for place in d.user_turns if place >= own]
        if self.cut == "hash":
            return sample(places, 1, "cut", self.seed, d.opening.name)
        return places if self.cut == "every" else places[-1:]

    def _group(self, d: Dialogue, place: int, part: str) -> Group:
        source = {"dataset": "dialogues", "part": part, "opening": d.opening.name, "persona": d.persona}
        source |= {"topic": d.opening.topic, "area": d.opening.area} if d.opening.topic or d.opening.area else {}
        meta = {"split_key": d.opening.split_key} if d.opening.split_key else {}
        group = make_group(d.messages[: place + 1], source=source, task_meta=meta)
        if self.responses:
            reply = d.ends[place + 1]
            writer = {k: str(v) for k, v in self.assistant.identity.items()} | {"role": "teacher"}
            candidate = make_candidate(group.id, reply.text.strip(), writer)
            candidate.finish_reason, candidate.n_tokens = reply.finish_reason, reply.completion_tokens or None
            group.candidates = [candidate]
        return group


def swapped(messages: Sequence[Message]) -> list[Message]:
    """The conversation as the user's simulator sees it: its own turns are the assistant's; system text is left out."""
    other = {"user": "assistant", "assistant": "user"}
    return [{"role": other[m["role"]], "content": m["content"]} for m in messages if m["role"] in other]


def _whole(i: int, reply: Reply) -> Reply | None:
    return reply if reply.text.strip() and reply.finish_reason != "length" else None
