"""The responses of an evaluation as stored groups: each candidate says whose it is and carries its scores."""

from __future__ import annotations

from dataclasses import replace

from prefine.evaluate.samples import TOKEN_IDS, Answers
from prefine.rundir import StageDir
from prefine.schema import Candidate, Group, candidate_id

PART = 512


def write_rows(folder: StageDir, groups: list[Group], answers: dict[str, dict[str, Answers]]) -> None:
    """Every prompt with all answers and their scores.

    A candidate's `generator` has `role` (the key in `answers`: model, start, cooled_start or another run's name), `run`
    (the model's name), `mode` (greedy or sample) and `temperature`. Parts of an interrupted evaluation are replaced.
    """
    for part in folder.parts:
        part.unlink()
    rows = []
    for group in groups:
        candidates = [
            _named(group.id, candidate, role, mode, a, index)
            for role, modes in answers.items()
            for mode, a in modes.items()
            for index, candidate in enumerate(a.responses[group.id])
        ]
        rows.append(replace(group, candidates=candidates, comparisons=[]))
    for start in range(0, len(rows), PART):
        folder.write_part(rows[start : start + PART])


def _named(group: str, candidate: Candidate, role: str, mode: str, answers: Answers, index: int) -> Candidate:
    facts = {k: v for k, v in candidate.generator.items() if k != TOKEN_IDS}
    facts |= {"role": role, "run": answers.name, "mode": mode, "temperature": f"{answers.temperature:g}"}
    new = candidate_id(group, candidate.completion, f"{role}/{mode}/{index}")
    return replace(candidate, id=new, generator=facts)


def stored_answers(groups: list[Group], role: str, mode: str) -> Answers:
    """The answers of one role and mode in the rows of an evaluation."""
    answers = Answers(role, 0.0)
    for group in groups:
        row = [c for c in group.candidates if (c.generator.get("role"), c.generator.get("mode")) == (role, mode)]
        answers.responses[group.id] = row
        if row:
            answers.name, answers.temperature = row[0].generator["run"], float(row[0].generator["temperature"])
    return answers
