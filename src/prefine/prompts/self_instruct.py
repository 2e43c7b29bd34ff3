"""New tasks by a model that is shown some of those there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefine.engines.base import Reply, Request
from prefine.engines.chance import sample
from prefine.engines.drawing import AsksEngine
from prefine.engines.texts import load_lines, load_text
from prefine.errors import PrefineError
from prefine.progress import Step
from prefine.prompts.acceptance import Pool, Rules
from prefine.prompts.asking import ask
from prefine.prompts.base import Maker, Write, as_committed, open_session
from prefine.prompts.instances import Case, Cases
from prefine.prompts.proposals import Proposal, Style, proposals
from prefine.prompts.rules import BLOCKED, find_checker
from prefine.recipe import Recipe
from prefine.registry import makers
from prefine.rundir import Counts
from prefine.schema import Group, Message

if TYPE_CHECKING:
    pass

TEXTS = Path(__file__).parent / "texts"
TASK = "prefine.task"
"""The entry of `source` with a prompt's task, without the material that a case adds."""


@makers.register("self_instruct")
class SelfInstruct(AsksEngine, Maker):
    """A model writes new tasks like the seeds it is shown; those that are unfit or not new are rejected, by reason.

    Each round asks `calls` times, showing tasks that were there when it began, and takes the replies in their order.

    Formula: rejected if max over known tasks of ROUGE-L = 2 LCS / (m + n) is above max_similarity
    Paper: Self-Instruct, Wang et al. 2022 (arXiv:2212.10560)
    Defaults: 6 seeds and 2 new tasks are shown, tasks have 4 to 150 words, and ROUGE-L is 0.7 at most, as published;
    style: json reads a list of texts (or objects with task, input, output), lines one task a line, continue lets an
    engine that can (user_turn) write the user's next turn after the shown tasks and their answers; instances asks
    whether a task is one of choosing a label and then for cases, up to that many; topics is a file with a topic a line;
    blocked: null are words for what a text assistant cannot see or do; valid: module:function of a text that is false
    for an unfit prompt, and may give a dictionary with its task and task_meta; template: null is texts/propose.txt,
    else a file with any of {count}, {tasks}, {next}, {topic}, {language}; the templates of cases likewise, with {task},
    {count}, {language}
    Needs: engine, who writes
    """

    def __init__(
        self,
        engine: dict,
        target: int = 100,
        max_calls: int = 1000,
        calls: int = 16,
        shown_seeds: int = 6,
        shown_new: int = 2,
        count: int = 20,
        style: Literal["json", "lines", "continue"] = "json",
        instances: int = 0,
        min_words: int = 4,
        max_words: int = 150,
        max_similarity: float = 0.7,
        blocked: list[str] | None = None,
        language: str = "English",
        topics: str | None = None,
        valid: str | None = None,
        template: str | None = None,
        classify_template: str | None = None,
        instances_template: str | None = None,
        labels_template: str | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 2048,
        max_reasks: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__(engine, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        if min(target, max_calls, calls, count) < 1:
            raise ValueError("target, max_calls, calls and count must be 1 or more")
        if min(shown_seeds, shown_new, instances, max_reasks) < 0:
            raise ValueError("shown_seeds, shown_new, instances and max_reasks must be 0 or more")
        if not 0 <= min_words <= max_words:
            raise ValueError(f"min_words must be at most max_words, not {min_words} and {max_words}")
        if not 0 < max_similarity <= 1:
            raise ValueError(f"max_similarity must be above 0 and at most 1, not {max_similarity}")
        if valid is not None and ":" not in valid:
            raise ValueError(f"valid must be module:function, not '{valid}'")
        if style == "continue" and instances:
            raise ValueError("style: continue writes whole prompts, so that there are no instances to ask for")
        self.target, self.max_calls, self.calls = target, max_calls, calls
        self.shown, self.count = (shown_seeds, shown_new), count
        self.style: Style = style
        self.cases, self.template = instances, template
        self.case_templates = (classify_template, instances_template, labels_template)
        self.words, self.max_similarity, self.language = (min_words, max_words), max_similarity, language
        self.blocked = list(BLOCKED) if blocked is None else blocked
        self.topics_file, self.valid_path, self.max_reasks = topics, valid, max_reasks
        self.counts: Counter[str] = Counter()

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        default = TEXTS / ("propose_instructions.txt" if self.cases else "propose.txt")
        self.text = load_text(self.template, default, [], ["count", "tasks", "next", "topic", "language"])
        self.case_writer = Cases(max(self.cases, 1), self.language, *self.case_templates)
        self.topics = load_lines(self.topics_file)
        valid = find_checker(self.valid_path) if self.valid_path else None
        self.rules = Rules(*self.words, self.language, self.blocked, self.max_similarity, valid)
        self.sampling = self.seeded(recipe)
        self._session = open_session(self.block, recipe)
        engine = self.session.engine
        if self.style == "continue" and "user_turn" not in engine.features:
            name = self.block.get("name")
            raise PrefineError(
                f"self_instruct: the engine '{name}' cannot write a user's turn; use style: json or lines"
            )
        self.identity = {k: str(v) for k, v in self.session.identity.items()}
        versions = {"propose": self.text.version} | (self.case_writer.versions if self.cases else {})
        return {"maker": {**self.identity, "seed": str(self.sampling.seed), "texts": versions}}

    def make(self, seeds: list[Group], write: Write, done: list[Group], step: Step) -> Counts:
        shown = [g for g in seeds if g.split != "test" and g.messages[-1]["role"] == "user"]
        if not shown and self.shown[0]:
            raise PrefineError(f"self_instruct: none of the {len(seeds)} seeds is for training and ends with a user")
        pool, counts = Pool(self.rules), Counts()
        pool.add(seeds, lambda g: g.prompt)
        made: list[Group] = []
        calls = 0
        for number in range(-(-self.max_calls // self.calls)):
            if len(made) >= self.target:
                break
            n = min(self.calls, self.max_calls - calls)
            tasks = list(dict.fromkeys(g.source[TASK] for g in made))
            requests = [self._request(number, i, shown, tasks) for i in range(n)]
            new = self._round(number, requests, pool, self.target - len(made), counts)
            committed = [g for g in done if int(g.source["round"]) >= number]
            if committed:
                new = as_committed(new, [g for g in committed if int(g.source["round"]) == number], counts)
            else:
                write(new)
                step(len(new), note=f"{calls + n} calls")
            pool.add(new, lambda g: g.source[TASK])
            made, calls = made + new, calls + n
        counts.rows_out = len(made)
        for name, value in {"calls_for_tasks": calls, **self.counts}.items():
            counts.note(name, value)
        return counts

    def facts(self) -> dict[str, Any]:
        return {"session": self.session.facts()}

    def _request(self, number: int, i: int, seeds: list[Group], tasks: list[str]) -> Request:
        """Call `i` of a round: it shows some of the seeds and of the tasks that were there when the round began."""
        name = (self.sampling.seed, number, i)
        place = number * self.calls + i
        sampling = replace(self.sampling, seed=self.sampling.seed + place)
        if self.style == "continue":
            answered = [g for g in seeds if g.candidates and g.candidates[0].text.strip()]
            turns: list[Message] = []
            for seed in sample(answered, self.shown[0], "seeds", *name):
                turns += [seed.messages[-1], {"role": "assistant", "content": seed.candidates[0].text}]
            return Request(tuple(turns), sampling, "self_instruct:continue", f"{place}")
        texts = [g.prompt for g in sample(seeds, self.shown[0], "seeds", *name)]
        texts = sample(
            [*texts, *sample(tasks, self.shown[1], "tasks", *name)], len(texts) + self.shown[1], "order", *name
        )
        topic = sample(self.topics, 1, "topic", *name)
        filled = self.text.fill(
            count=str(self.count),
            tasks=_numbered(texts),
            next=str(len(texts) + 1),
            topic=f"All of them have to do with this topic: {topic[0]}" if topic else "",
            language=self.language,
        )
        message: Message = {"role": "user", "content": filled}
        return Request((message,), sampling, f"self_instruct:{self.text.version}", f"{place}")

    def _round(self, number: int, requests: list[Request], pool: Pool, room: int, counts: Counts) -> list[Group]:
        """Ask, and accept what comes in the order of the calls; at most `room` prompts."""
        replies = ask(self.session, requests, self._read, self.max_reasks, self.counts)
        proposed = [(i, p) for i, found in enumerate(replies) for p in found or []]
        counts.rows_in += len(proposed)
        accepted = []
        for (i, proposal), reason in zip(proposed, pool.take([p for _, p in proposed]), strict=True):
            if reason is None:
                accepted.append((i, proposal))
            else:
                counts.drop(reason)
        out: list[Group] = []
        for (i, proposal), cases in zip(accepted, self._cases(number, [p for _, p in accepted]), strict=True):
            counts.rows_in += max(len(cases), 1) - 1
            if not cases:
                counts.drop("no_case")
            for case in cases:
                text = f"{proposal.text}\n\n{case.input}" if case.input else proposal.text
                source = {"dataset": "self_instruct", "round": str(number), "call": str(i), TASK: proposal.text}
                given: dict[str, Any] = {"responses": [case.output], "generator": self._writer()} if case.output else {}
                found = "beyond_target" if len(out) == room else pool.group(text, source=source, **given)
                if isinstance(found, str):
                    counts.drop(found)
                else:
                    out.append(found)
        return out

    def _read(self, i: int, reply: Reply) -> list[Proposal] | None:
        return proposals(reply, self.style)

    def _cases(self, number: int, accepted: list[Proposal]) -> list[list[Case]]:
        """The cases of each task; without `instances` a task is its own, with the answer that came along."""
        if not self.cases:
            return [[Case("", p.output)] for p in accepted]
        asked = [p for p in accepted if not p.output]

        def ask_all(
            purpose: str, texts: Sequence[str], names: Sequence[str], read: Callable[[Reply], Any]
        ) -> list[Any]:
            requests = [
                Request(({"role": "user", "content": text},), self.sampling, f"self_instruct:{purpose}", f"{number}")
                for text in texts
            ]
            return ask(self.session, requests, lambda i, reply: read(reply), self.max_reasks, self.counts)

        found = iter(self.case_writer.write([p.text for p in asked], ask_all, self.counts))
        return [[Case("", p.output)] if p.output else next(found) for p in accepted]

    def _writer(self) -> dict[str, str]:
        s = self.sampling
        drawn = {"temperature": s.temperature, "top_p": s.top_p, "seed": s.seed, "role": "teacher"}
        return {**self.identity, **{k: str(v) for k, v in drawn.items()}}


def _numbered(texts: Sequence[str]) -> str:
    gap = "\n\n" if any("\n" in text for text in texts) else "\n"
    return gap.join(f"{place}. {text}" for place, text in enumerate(texts, start=1))
