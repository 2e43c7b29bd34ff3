"""Where the rows behind a model came from, and under which licenses, by what the rows themselves say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow.parquet as pq

from prefine.rundir import StageDir

UNKNOWN = "unknown"
NAMED = ("dataset", "revision", "license", "url")


def sources_of(results: Iterable[tuple[StageDir, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Prompts by data set, revision, license and address, the most frequent first.

    Rows say so in `source`; those that do not count under the path of the recipe, with the license `unknown`.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for folder, manifest in results:
        if folder.stage == "data":
            path = (manifest.get("settings") or {}).get("path") or folder.path.name
            default = ", ".join(path) if isinstance(path, list) else str(path)
            for part in folder.parts:
                for row in pq.read_table(part, columns=["source"])["source"].to_pylist():
                    told = dict(row or {})
                    name = told.get("dataset") or default
                    found[name, told.get("revision", ""), told.get("license") or UNKNOWN, told.get("url", "")] += 1
    return [{**dict(zip(NAMED, names, strict=True)), "prompts": n} for names, n in found.most_common()]


def merged(lists: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The sources of several models, each once."""
    out: dict[tuple[str, ...], dict[str, Any]] = {}
    for source in (s for sources in lists for s in sources):
        out.setdefault(tuple(source[k] for k in NAMED), source)
    return list(out.values())
