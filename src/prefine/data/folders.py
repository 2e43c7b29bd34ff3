"""Folders of rows outside of a run: which one a path means, where it came from, and how a new one is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefine.durable import TMP_MARK, sha256_file
from prefine.errors import PrefineError, nearest
from prefine.rundir import Counts, RunDir, StageDir, run_stage, stage_key

ROW_STAGES = ("label", "generate", "prompts", "data")
"""Stages of a run that hold groups, the last one first."""
OURS = (".lock", "manifest.json", "_SUCCESS", "decisions")


def open_folder(path: Path, stages: tuple[str, ...] = ROW_STAGES) -> StageDir:
    """The rows that a path means: a folder with parts, or a run, of which the last of `stages` is taken."""
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        hint = "; first `prefine data import` it" if path.is_file() else nearest(path.name, beside) if beside else ""
        raise PrefineError(f"{path} is no folder of rows{hint}")
    if list(path.glob("part-*.parquet")):
        folder = StageDir(path, _stage_of(path), "", path.parent)
        if not folder.done and (path / ".lock").exists():
            raise PrefineError(f"{path} was not finished; run the command that writes it again")
        return folder
    for stage in stages:
        found = [folder for folder in RunDir(path).results(stage) if folder.parts]
        if found:
            return found[-1]
    raise PrefineError(f"{path} is neither a folder of rows (part-*.parquet) nor a run with rows")


def _stage_of(path: Path) -> str:
    manifest = read_manifest(path)
    return str(manifest.get("stage", "data"))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a folder; empty where there is none."""
    file = path / "manifest.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def content_digest(folder: StageDir) -> str:
    """What the rows of a folder hash to: by its manifest, or else by its files."""
    files = read_manifest(folder.path).get("files") if folder.done else None
    files = files or {part.name: sha256_file(part) for part in folder.parts}
    return stage_key("rows", {}, {name: digest for name, digest in files.items() if name.startswith("part-")})


def origin(folder: StageDir) -> dict[str, str]:
    """How a manifest names the folder that its rows came from."""
    return {"path": str(folder.path.resolve()), "digest": content_digest(folder)}


Work = Callable[[StageDir], tuple[Counts | None, dict[str, Any]]]


def write_folder(
    out: Path, stage: str, settings: dict[str, Any], sources: list[StageDir], inputs: dict[str, str], work: Work
) -> tuple[StageDir, bool]:
    """Do `work` into the folder `out`, unless it holds the result of the same work already; whether it was done.

    The manifest's `inputs` have the digests of the sources, its `lineage` their paths. A folder that holds anything
    else is refused.
    """
    inputs = {**{f"rows-{i}": content_digest(s) for i, s in enumerate(sources)}, **inputs}
    key = stage_key(stage, settings, inputs)
    folder = StageDir(out, stage, key, out.parent)
    if any(out.resolve() == s.path.resolve() for s in sources):
        raise PrefineError(f"{out} is the folder that is read; name another one with --out")
    _refuse(out, key)
    with RunDir(out):

        def traced(target: StageDir) -> tuple[Counts | None, dict[str, Any]]:
            counts, facts = work(target)
            return counts, {"lineage": [origin(s) for s in sources], **facts}

        done = run_stage(folder, settings, inputs, traced)
    return folder, done


def _refuse(out: Path, key: str) -> None:
    """Raise where writing to `out` would lose or mix something."""
    if out.is_file():
        raise PrefineError(f"{out} is a file; --out names a folder")
    inside = sorted(out.iterdir()) if out.is_dir() else []
    mark = out / "_SUCCESS"
    if mark.exists() and mark.read_text().strip() != key:
        raise PrefineError(f"{out} holds a result of other settings or rows; name a new folder with --out")
    started = (out / ".lock").exists()
    for path in inside:
        part = path.name.startswith("part-") and path.suffix == ".parquet" and started
        if not (path.name in OURS or part or TMP_MARK in path.name):
            raise PrefineError(f"{out} holds other files ({path.name}); name a new folder with --out")
