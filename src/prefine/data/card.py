"""The data card: where rows are from, under which licenses, who judged them, and what was left out on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from prefine.data.folders import read_manifest
from prefine.data.licenses import UNKNOWN
from prefine.data.lineage import ancestors
from prefine.rundir import StageDir
from prefine.schema import Group

_FAMILIES = {
    "cc-by": ("2.0", "3.0", "4.0"),
    "cc-by-sa": ("3.0", "4.0"),
    "cc-by-nc": ("2.0", "3.0", "4.0"),
    "cc-by-nc-sa": ("3.0", "4.0"),
    "cc-by-nc-nd": ("3.0", "4.0"),
}
HUB_LICENSES = {"apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "gpl-3.0", "mit", "odbl", "odc-by", "pddl"}
HUB_LICENSES |= {f"{family}-{version}" for family, versions in _FAMILIES.items() for version in versions}
"""Identifiers that the hub knows, of those usual for data; the others are `other` there."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LISTED = 30
"""Lines of a table of the card."""


@dataclass
class Facts:
    """What a card tells, gathered from rows and from the manifests of the folders that they came through."""

    where: str = ""
    groups: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """Rows by split, once they are written."""
    licenses: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """Prompts by data set, revision, license and address."""
    scorers: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    steps: list[dict[str, Any]] = field(default_factory=list)
    """The folders from the oldest to this one: stage, settings, and what was dropped, by reason."""
    dropped: dict[str, int] = field(default_factory=dict)
    """What the last view left out."""


def facts_of(folder: StageDir, license: str | None = None) -> Facts:
    """The facts of a folder with groups; for one with examples, those of the last groups that it was made of.

    `license` is what the user says of rows whose source names none.
    """
    history = [here for here, _ in ancestors(folder)]
    facts = Facts(where=str(folder.path))
    for here in history:
        manifest = read_manifest(here.path)
        counts = manifest.get("counts") or {}
        facts.steps.append(
            {
                "stage": str(manifest.get("stage", here.stage)),
                "settings": manifest.get("settings") or {},
                "rows_in": counts.get("rows_in"),
                "rows_out": counts.get("rows_out"),
                "dropped": counts.get("dropped") or {},
            }
        )
    with_groups = [here for here in history if here.parts and has_groups(here)]
    if with_groups:
        _look_at(facts, with_groups[-1].groups(), license)
    elif license:
        facts.licenses[license] += 1
    return facts


def has_groups(folder: StageDir) -> bool:
    """False for a folder with training examples."""
    import pyarrow.parquet as pq

    return "candidates" in pq.read_schema(folder.parts[0]).names


def _look_at(facts: Facts, groups: Iterable[Group], license: str | None) -> None:
    for group in groups:
        facts.groups += 1
        named = group.source.get("license") or license or UNKNOWN
        facts.licenses[named] += 1
        origin = group.source.get("dataset", UNKNOWN), group.source.get("revision", ""), named
        facts.sources[*origin, group.source.get("url", "")] += 1
        for c in group.candidates:
            facts.writers[c.generator.get("model") or c.generator.get("role") or UNKNOWN] += 1
            facts.labels.update(f"{name}: {str(value).lower()}" for name, value in c.labels.items())
            facts.scorers.update({s.scorer if s.aspect is None else f"{s.scorer}.{s.aspect}" for s in c.scores})
        facts.judges.update(c.judge for c in group.comparisons)


def card(facts: Facts, name: str, view: str, splits: dict[str, str] | None = None) -> str:
    """The README.md of a data set: a YAML header that the hub reads, and tables for people."""
    names = splits or {split: split for split in facts.rows}
    header = yaml.safe_dump(_header(facts, name, view, names), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{header}---", f"# {name}", _summary(facts, view), *_tables(facts, names)]
    return "\n\n".join(parts) + "\n"


def _header(facts: Facts, name: str, view: str, names: dict[str, str]) -> dict[str, Any]:
    known = sorted({part for text in facts.licenses for part in text.split(", ")})
    out: dict[str, Any] = {"pretty_name": name}
    if len(known) == 1 and known[0] not in HUB_LICENSES:
        out |= {"license": "other", "license_name": known[0]}
    else:
        found = [text if text in HUB_LICENSES else "other" for text in known] or ["other"]
        out["license"] = found[0] if len(found) == 1 else list(dict.fromkeys(found))
    total = sum(facts.rows.values())
    out["size_categories"] = [next((word for most, word in SIZES if total < most), "n>1M")]
    out["tags"] = ["preference", "prefine"]
    files = [{"split": names[s], "path": f"data/{names[s]}-*"} for s in facts.rows]
    out["configs"] = [{"config_name": "default", "data_files": files}]
    out["prefine"] = {
        "view": view,
        "rows": {names[s]: n for s, n in facts.rows.items()},
        "prompts": facts.groups,
        "sources": [dict(zip(("dataset", "revision", "license", "url"), k, strict=True)) for k in facts.sources],
        "licenses": dict(facts.licenses),
        "judges": dict(facts.judges.most_common(LISTED)),
        "scorers": dict(facts.scorers.most_common(LISTED)),
        "filters": [{"stage": s["stage"], "dropped": s["dropped"]} for s in facts.steps if s["dropped"]],
        "left_out_of_this_view": facts.dropped,
    }
    return out


def _summary(facts: Facts, view: str) -> str:
    what = {
        "pairs": "pairs of a chosen and a rejected response",
        "list": "prompts with all their responses and scores",
        "unpaired": "single responses, each desirable or not",
        "sft": "prompts with one response",
        "spans": "responses with a better version and the edits between the two",
    }[view]
    total = sum(facts.rows.values())
    return f"{total} rows ({what}), of {facts.groups} prompts. Written by prefine."


def _tables(facts: Facts, names: dict[str, str]) -> list[str]:
    steps = [
        (s["stage"], s["rows_in"], s["rows_out"], "; ".join(f"{n} {r}" for r, n in sorted(s["dropped"].items())))
        for s in facts.steps
    ]
    steps.append(("this view", "", sum(facts.rows.values()), "; ".join(f"{n} {r}" for r, n in facts.dropped.items())))
    return [
        *_table("Splits", ("split", "rows"), [(names[s], n) for s, n in facts.rows.items()]),
        *_table(
            "Sources",
            ("data set", "revision", "license", "address", "prompts"),
            [(*key, n) for key, n in facts.sources.most_common(LISTED)],
        ),
        *_table("Judges of comparisons", ("judge", "comparisons"), facts.judges.most_common(LISTED)),
        *_table("Scores", ("scorer", "responses"), facts.scorers.most_common(LISTED)),
        *_table("Labels", ("label", "responses"), facts.labels.most_common(LISTED)),
        *_table("Writers of responses", ("writer", "responses"), facts.writers.most_common(LISTED)),
        *_table("What was left out", ("step", "rows in", "rows out", "dropped"), steps),
    ]


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    lines = [" | ".join(_cell(value) for value in row) for row in rows]
    if not lines:
        return []
    head = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return [f"## {title}", "\n".join([*head, *(f"| {line} |" for line in lines)])]


def _cell(value: Any) -> str:
    return " ".join(str("" if value is None else value).replace("|", "\\|").split())
