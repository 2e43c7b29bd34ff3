"""Folders of rows for the tests of exports."""

from __future__ import annotations

import json
from pathlib import Path

from prefine.data.intake import import_data
from prefine.progress import Progress
from prefine.recipe import Data
from prefine.rundir import StageDir, run_stage
from prefine.schema import Example, Group, group_from_row, group_to_row


def imported(path: Path, rows: list[dict], **settings) -> StageDir:
    """The rows taken in, in a folder below `path`; every second prompt or so is held out."""
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return imported_file(path, str(file), test_fraction=0.4, **settings)


def imported_file(path: Path, file: str, **settings) -> StageDir:
    folder = StageDir(path / "groups", "import", "0" * 64, path)
    license = settings.pop("license", None)
    run_stage(
        folder,
        {},
        {},
        lambda target: import_data([Data(path=file, **settings)], target, Progress.silent(), license=license),
    )
    return folder


def stage_of(
    path: Path, rows: list[Group] | list[Example], name: str = "pair", key: str = "0" * 64, **inputs: str
) -> StageDir:
    """A finished stage with these rows, made of what `inputs` names by their keys."""
    folder = StageDir(path / name, name, key, path)

    def write(target: StageDir):
        target.write_part(rows)
        return None, {}

    run_stage(folder, {}, inputs, write)
    return folder


def load(folder: Path, tmp_path: Path, **settings):
    """The folder as `datasets` loads it."""
    import datasets

    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **settings)


def known(groups) -> dict[str, tuple]:
    """What a way out and back must keep: ids, texts, responses and who was preferred."""
    out = {}
    for g in groups:
        g = group_from_row(group_to_row(g))
        responses = {(c.id, c.text) for c in g.candidates}
        out[g.id] = ([m["content"] for m in g.messages], responses, {(c.a, c.b) for c in g.comparisons}, g.split)
    return out
