"""The history of a row: every step's word on it, back through the folders it came from to its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prefine.data.decisions import Decision, read_decisions
from prefine.data.folders import ROW_STAGES, content_digest, open_folder, read_manifest
from prefine.data.repeats import OF
from prefine.errors import PrefineError
from prefine.ledger import Ledger
from prefine.rundir import StageDir
from prefine.schema import Example, Group, example_from_row, group_from_row

SHORTEST = 6
"""Characters of an id that may stand for the whole."""
LINKS = ("merged_into", "duplicate_of")
"""Evidence that names the row in which another one goes on."""


@dataclass
class Visit:
    """What one folder knows of a row: the rows it holds, its steps' decisions, and why reading dropped it."""

    folder: Path
    stage: str
    rows: list[Group | Example] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class History:
    """The folders from the oldest to the one that was asked, and the raw replies behind responses and scores."""

    wanted: str
    visits: list[Visit]
    replies: dict[str, str] = field(default_factory=dict)
    """Key in the ledger to the reply as it came."""


def history(wanted: str, path: Path) -> History:
    """What became of a row, and where it is from.

    `wanted` is the id of an example, a prompt or a response, or its first characters, or the key of a source row
    (`rows.jsonl#12`). Raises `PrefineError` where no folder knows it, or where several rows begin like this.
    """
    folders = ancestors(open_folder(path, ("pair", *ROW_STAGES)))
    ids = _resolve(wanted, [folder for folder, _ in folders])
    visits = []
    for folder, note in folders:
        manifest = read_manifest(folder.path)
        visit = Visit(folder.path, str(manifest.get("stage", folder.stage)), note=note)
        visit.rows = list(_rows_about(folder, ids))
        visit.decisions = list(read_decisions(folder.path, ids))
        told = manifest.get("dropped_rows") or {}
        visit.dropped = [f"{reason}: {key}" for reason, keys in told.items() for key in keys if _is_key(key, wanted)]
        visits.append(visit)
    if not any(v.rows or v.decisions or v.dropped for v in visits):
        raise PrefineError(
            f"{path}: neither this folder nor the {len(folders) - 1} before it know a row '{wanted}' (an id, at least "
            f"{SHORTEST} of its first characters, or the key of a source row as in rows.jsonl#12)"
        )
    return History(wanted, visits, _replies([row for v in visits for row in v.rows], folders))


def _is_key(text: str, wanted: str) -> bool:
    return text == wanted or text.startswith(wanted + ":")


def ancestors(folder: StageDir) -> list[tuple[StageDir, str]]:
    """The folder and those it came from, oldest first, each with a remark."""
    found: dict[Path, tuple[StageDir, str]] = {}

    def visit(here: StageDir, note: str) -> None:
        place = here.path.resolve()
        if place not in found:
            for parent, remark in _parents(here):
                visit(parent, remark)
            found[place] = here, note

    visit(folder, "")
    return list(found.values())


def _parents(folder: StageDir) -> Iterator[tuple[StageDir, str]]:
    manifest = read_manifest(folder.path)
    for named in manifest.get("lineage", []):
        path = Path(named["path"])
        if not list(path.glob("part-*.parquet")):
            continue
        parent = StageDir(path, str(read_manifest(path).get("stage", "data")), "", path.parent)
        changed = content_digest(parent) != named["digest"]
        yield parent, "its rows have changed since" if changed else ""
    keys = {str(v) for v in (manifest.get("inputs") or {}).values()}
    for mark in sorted(folder.path.parent.parent.glob("*/*/_SUCCESS")):
        if mark.read_text().strip() in keys and list(mark.parent.glob("part-*.parquet")):
            yield StageDir(mark.parent, mark.parent.parent.name, "", mark.parents[2]), ""
    listed = (manifest.get("settings") or {}).get("path")
    for name in [listed] if isinstance(listed, str) else listed or []:
        if isinstance(name, str) and list(Path(name).glob("part-*.parquet")):
            yield StageDir(Path(name), str(read_manifest(Path(name)).get("stage", "data")), "", Path(name).parent), ""


def _resolve(wanted: str, folders: list[StageDir]) -> set[str]:
    """All ids that belong to the row: of the prompt, its responses and examples, and of what it was merged into.

    From the newest folder to the oldest and back, since a link may lead either way.
    """
    exact: set[tuple[str, str]] = set()
    for folder in folders:
        exact.update(_named(folder, wanted))
    prompts = {group for _, group in exact}
    if len(prompts) > 1 and "#" not in wanted and not any(i == wanted for i, _ in exact):
        some = ", ".join(sorted(i for i, _ in exact)[:3])
        raise PrefineError(f"several rows begin with '{wanted}', for example {some}; give more of the id")
    about = {i for pair in exact for i in pair}
    for folder in [*reversed(folders), *folders]:
        for decision in read_decisions(folder.path, about):
            if decision.id in about or decision.group_id in about:
                about.update(str(decision.facts[k]) for k in LINKS if k in decision.facts)
        about.update(original for copy, original in _copies(folder) if copy in about)
    return about


def _named(folder: StageDir, wanted: str) -> Iterator[tuple[str, str]]:
    """Ids in a folder, or in its decisions, that `wanted` may mean, each with the id of its prompt."""

    def means(text: str) -> bool:
        return text == wanted or (len(wanted) >= SHORTEST and text.startswith(wanted))

    for row in _light(folder):
        group = row.get("group_id") or row["id"]
        inside = [row["id"], group, *(row.get("candidate_ids") or ()), *(c["id"] for c in row.get("candidates") or ())]
        keys = dict(row.get("source") or ()).get("row") or ""
        yield from ((i, group) for i in inside if means(i))
        if wanted in (k.strip() for k in keys.replace(";", ",").split(",")):
            yield row["id"], group
    for part in sorted((folder.path / "decisions").glob("part-*.parquet")):
        for row in pq.read_table(part, columns=["id", "group_id", "evidence"]).to_pylist():
            if means(row["id"]) or ("#" in wanted and f'"{wanted}"' in row["evidence"]):
                yield row["id"], row["group_id"]


def _light(folder: StageDir) -> Iterator[dict[str, Any]]:
    """The rows of a folder with what identifies them alone."""
    for part in folder.parts:
        with pq.ParquetFile(part) as file:
            leaves = ["id", "group_id", "candidate_ids", "candidates.list.element.id", "source"]
            for batch in file.iter_batches(columns=leaves):
                yield from batch.to_pylist()


def _copies(folder: StageDir) -> Iterator[tuple[str, str]]:
    for part in folder.parts:
        if "task_meta" in pq.read_schema(part).names:
            for row in pq.read_table(part, columns=["id", "task_meta"]).to_pylist():
                original = dict(row["task_meta"] or ()).get(OF)
                if original:
                    yield row["id"], original


def _rows_about(folder: StageDir, ids: set[str]) -> Iterator[Group | Example]:
    for part in folder.parts:
        names = pq.read_schema(part).names
        columns = ["id", *(["group_id"] if "group_id" in names else [])]
        light = pq.read_table(part, columns=columns).to_pylist()
        places = [k for k, row in enumerate(light) if ids & set(row.values())]
        if places:
            rows = pq.read_table(part).take(places).to_pylist()
            yield from map(example_from_row if "responses" in names else group_from_row, rows)


def refs_of(row: Group | Example) -> list[str]:
    """The keys in a ledger behind a prompt's responses, scores and comparisons."""
    if isinstance(row, Example):
        return []
    out = [key for c in row.candidates for key in c.generator.get("ledger_key", "").replace(",", " ").split()]
    out += [key for c in row.candidates for s in c.scores for key in s.refs]
    out += [key for c in row.comparisons for key in c.refs]
    return list(dict.fromkeys(out))


def _replies(rows: list[Group | Example], folders: list[tuple[StageDir, str]]) -> dict[str, str]:
    keys = list(dict.fromkeys(key for row in rows for key in refs_of(row)))
    out: dict[str, str] = {}
    files = {p / "ledger.sqlite" for folder, _ in folders for p in (folder.path, *folder.path.resolve().parents[:3])}
    for file in sorted(f for f in files if f.is_file() and keys):
        with Ledger(file) as ledger:
            out.update({key: result.raw or result.error for key, result in ledger.look(keys).items()})
    return out
