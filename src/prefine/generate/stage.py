"""The generate stage: prompts in, the same prompts with sampled responses out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefine.durable import write_json
from prefine.errors import PrefineError
from prefine.generate.base import Generator
from prefine.generate.choose import choose
from prefine.progress import Progress, Step
from prefine.recipe import Generate, Recipe
from prefine.registry import generators
from prefine.rundir import Counts, StageDir
from prefine.schema import Candidate, Group

PART = 256
"""Prompts between two durable parts."""
ORIGIN = "prefine.origin"
"""The entry of `task_meta` with the id that a prompt had before it was improved."""


def run(recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress) -> tuple[Counts, dict[str, Any]]:
    """Write every group of `source` with its new responses; prompts too long for the model are dropped.

    New responses take the place of those that came with the data, so that what follows learns from the sampled ones
    only (the data stage still has the others). Held-out groups pass unchanged unless the recipe includes them.
    """
    section = recipe.generate or Generate()
    groups = sorted(source.groups(), key=lambda g: g.id)
    wanted = {g.id for g in groups if g.split != "test" or section.include_held_out}
    if not wanted:
        raise PrefineError(f"generate: none of the {len(groups)} prompts is for training")
    generator: Generator = generators.build(section.generator)
    _check_choice(section, generator)
    try:
        facts = generator.prepare(recipe)
        _Sampling(generator, section, recipe.seed, folder, groups, wanted).run(progress)
        facts = {**facts, **generator.facts(folder.groups())}
    finally:
        generator.close()
    counts = balance(groups, wanted, folder)
    n = {name: int(value) for name, value in counts.extra.items()}
    progress.line(
        f"  {n['responses']} responses, {n['tokens'] / n['responses']:.1f} tokens each; {n['finish_length']} cut at "
        f"the length limit, {n['empty_response']} empty, {n['duplicate_responses']} duplicates"
    )
    return counts, {**facts, "distinct_of_sampled": _distinct(folder)}


def _check_choice(section: Generate, generator: Generator) -> None:
    if section.keep is not None and generator.keeps_given:
        raise PrefineError("generate.keep chooses among samples; this generator goes on with the given responses")
    for name in ("keep", "min_unique"):
        value = getattr(section, name)
        if value is not None and value > section.num_responses:
            raise PrefineError(
                f"generate.{name} is {value}, above the number of samples: generate.num_responses is "
                f"{section.num_responses}"
            )


@dataclass
class Note:
    """What a part of the rows does not tell: beside it, so that a resumed run counts the same."""

    rows: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    """Id of a group to the reason why it was dropped."""
    distinct: Counter[str] = field(default_factory=Counter)
    """Number of different texts among a prompt's samples to the number of such prompts."""
    counts: Counter[str] = field(default_factory=Counter)


class _Sampling:
    """Parts of `PART` groups; those that an interrupted run has written stay as they are."""

    def __init__(
        self,
        generator: Generator,
        section: Generate,
        seed: int,
        folder: StageDir,
        groups: list[Group],
        wanted: set[str],
    ) -> None:
        self.generator, self.section, self.seed, self.folder, self.wanted = generator, section, seed, folder, wanted
        self.parts = [groups[start : start + PART] for start in range(0, len(groups), PART)]
        self.given = {g.id for g in groups}
        written = list(folder.groups())
        self.ids = {g.id for g in written}
        self.written = {origin(g) for g in written}

    def run(self, progress: Progress) -> None:
        left = [i for i, part in enumerate(self.parts) if not self._done(i, part)]
        todo = [[g for g in self.parts[i] if g.id in self.wanted] for i in left]
        n, count = self.section.num_responses, sum(map(len, todo))
        done = (len(self.wanted) - count) * n
        with progress.task("sampling", total=len(self.wanted) * n, unit="responses", done=done) as step:
            if count:
                self.generator.ahead([g for part in todo for g in part], n, step)
            for i, part in zip(left, todo, strict=True):
                self._write(i, part, step)

    def _done(self, i: int, part: list[Group]) -> bool:
        file = note_path(self.folder, i)
        empty = file.exists() and json.loads(file.read_text())["rows"] == 0
        return empty or any(g.id in self.written for g in part)

    def _write(self, i: int, todo: list[Group], step: Step) -> None:
        found = self.generator.generate(todo, self.section.num_responses, step)
        made = {g.id: candidates for g, candidates in zip(todo, found, strict=True)}
        note, rows = Note(), []
        for group in self.parts[i]:
            row = self._row(group, made[group.id], note) if group.id in made else group
            if row is not None:
                rows.append(row)
        note.rows = len(rows)
        note.counts.update(self.generator.counts)
        self.generator.counts.clear()
        # The note comes first: rows without it would be lost to the count, a note without rows is written anew.
        write_json(note_path(self.folder, i), vars(note))
        if rows:
            self.folder.write_part(rows)

    def _row(self, group: Group, candidates: list[Candidate], note: Note) -> Group | None:
        """The group with its responses, or None with the reason in `note`."""
        if not candidates:
            note.dropped[group.id] = self.generator.refusal(group) or "no_response"
            return None
        distinct = len({c.text for c in candidates})
        note.distinct[str(distinct)] += 1
        if self.section.min_unique is not None and distinct < self.section.min_unique:
            note.dropped[group.id] = "low_diversity"
            return None
        if self.section.keep is not None:
            texts = [c.text for c in candidates]
            kept = choose(texts, self.section.keep, self.section.select, self.seed, group.id)
            candidates = [candidates[k] for k in kept]
        row = self.generator.finished(group, candidates)
        if row.id != group.id:
            if row.id in self.given or row.id in self.ids:
                note.dropped[group.id] = "duplicate_prompt"
                return None
            row.task_meta[ORIGIN] = group.id
        self.ids.add(row.id)
        return row


def note_path(folder: StageDir, part: int) -> Path:
    """The file with the note on a part of the prompts."""
    return folder.path / f"note-{part:05d}.json"


def origin(group: Group) -> str:
    """The id under which the group's prompt came into this stage."""
    return group.task_meta.get(ORIGIN, group.id)


def _notes(folder: StageDir) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.path.glob("note-*.json"))]


def _distinct(folder: StageDir) -> dict[str, int]:
    """How many prompts have how many different texts among their samples."""
    total: Counter[str] = Counter()
    for note in _notes(folder):
        total.update(note["distinct"])
    return dict(sorted(total.items(), key=lambda item: int(item[0])))


def balance(groups: list[Group], wanted: set[str], folder: StageDir) -> Counts:
    """Groups in and out, and what the responses are like."""
    counts, notes = Counts(len(groups)), _notes(folder)
    missing = {g.id for g in groups}
    for group in folder.groups():
        counts.rows_out += 1
        missing.remove(origin(group))
        if origin(group) not in wanted:
            counts.note("held_out_prompts_passed")
            continue
        texts = [c.text for c in group.candidates]
        counts.note("responses", len(texts))
        counts.note("empty_response", sum(not t.strip() for t in texts))
        counts.note("duplicate_responses", len(texts) - len(set(texts)))
        counts.note("finish_length", sum(c.finish_reason == "length" for c in group.candidates))
        counts.note("tokens", sum(c.n_tokens or 0 for c in group.candidates))
    reasons = {gid: reason for note in notes for gid, reason in note["dropped"].items()}
    for gid in missing:
        counts.drop(reasons.get(gid, "no_response"))
    for note in notes:
        for name, n in note["counts"].items():
            counts.note(name, n)
    if not counts.extra.get("responses"):
        reasons = ", ".join(f"{name}: {n}" for name, n in counts.dropped.items())
        raise PrefineError(f"generate: no prompt got a response ({reasons})")
    return counts
