"""Folders of rows for tests of steps, and what a step made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefine.data.decisions import Decision, read_decisions
from prefine.data.steps import clear, rows_in, run_steps
from prefine.pair.base import example
from prefine.progress import Progress
from prefine.rundir import StageDir
from prefine.schema import Comparison, Example, Group, Score, make_candidate, make_group


def group_of(prompt: str, *responses: str, scores: list[float | None] | None = None, **changes: Any) -> Group:
    """A prompt with responses, of which each may have a score by `gold`."""
    group = make_group([{"role": "user", "content": prompt}])
    group.candidates = [make_candidate(group.id, text, key=str(k)) for k, text in enumerate(responses)]
    for candidate, value in zip(group.candidates, scores or [], strict=False):
        candidate.scores = [Score("gold", value, status="ok" if value is not None else "na")]
    for name, value in changes.items():
        setattr(group, name, value)
    return group


def prefer(group: Group, better: int, worse: int, judge: str = "human") -> None:
    """Add a judgement; it stands the other way round for every other judge, as real ones do."""
    a, b = group.candidates[better].id, group.candidates[worse].id
    if len(group.comparisons) % 2:
        group.comparisons.append(Comparison(b, a, "b", judge))
    else:
        group.comparisons.append(Comparison(a, b, "a", judge))


def pair_of(
    prompt: str, chosen: str, rejected: str, scores: list[float] | None = None, split: str = "train"
) -> Example:
    group = group_of(prompt, chosen, rejected, split=split)
    return example(group, group.candidates, scores or [])


def folder_of(path: Path, *parts: list[Any]) -> StageDir:
    """A folder with these parts."""
    folder = StageDir(path, "data", "k" * 64, path.parent)
    folder.start()
    for part in parts:
        folder.write_part(part)
    return folder


@dataclass
class Cleaned:
    """What steps have made of a folder."""

    rows: list[Any]
    decisions: list[Decision]
    counts: dict[str, Any]
    told: dict[str, Any]
    """The last step's balance and facts."""

    def fate(self, row_id: str) -> tuple[bool, str]:
        """Kept or not, and why, by the last step that says something of a row."""
        said = [d for d in self.decisions if d.id == row_id]
        return said[-1].keep, said[-1].reason

    def dropped(self) -> dict[str, str]:
        return {d.id: d.reason for d in self.decisions if not d.keep}


def clean(tmp_path: Path, rows: list[Any], *blocks: dict[str, Any], parts: int = 1, models: Any = None) -> Cleaned:
    """Apply steps to rows that are cut into `parts`."""
    number = len(list(tmp_path.iterdir()))
    size = -(-len(rows) // parts)
    cut = [rows[i : i + size] for i in range(0, len(rows), size)]
    source = folder_of(tmp_path / f"source-{number}", *cut)
    target = folder_of(tmp_path / f"target-{number}")
    clear(target)
    outcome = run_steps(source, list(blocks), target, Progress.silent(), models)
    return Cleaned(
        list(rows_in(target)), list(read_decisions(target.path)), outcome.counts.as_dict(), outcome.steps[-1]
    )
