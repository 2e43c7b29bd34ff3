"""What is known of the judges behind the labels: their own facts, and the reports of `prefine judge report`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "judges"


@dataclass
class Judges:
    """`labelers` are those of the label stages, `reports` and `between` what `judges/*.json` say of them."""

    labelers: list[dict[str, Any]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    between: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Judges) -> None:
        """Take over what is not known yet; one labeler serves many runs."""
        for name in ("labelers", "reports", "between"):
            mine = getattr(self, name)
            mine += [x for x in getattr(other, name) if x not in mine]

    def as_dict(self) -> dict[str, Any]:
        return {"labelers": self.labelers, "reports": self.reports, "between": self.between}


def judges_of(run: Path, manifests: Iterable[dict[str, Any]]) -> Judges:
    """The judges of one run directory; of several reports with one judge the newest counts."""
    out = Judges()
    for manifest in manifests:
        for name, facts in (manifest.get("labelers") or {}).items():
            seed = (manifest.get("settings") or {}).get("seed")
            out.labelers.append({"name": name, "seed": seed, **{k: v for k, v in facts.items() if _flat(v)}})
    newest: dict[str, dict[str, Any]] = {}
    for file in sorted((run / FOLDER).glob("*.json"), key=lambda p: p.stat().st_mtime):
        found = json.loads(file.read_text())
        newest |= {r["judge"]: {**r, "gold_scorer": found.get("gold")} for r in found.get("judges") or []}
        out.between += found.get("between") or []
    out.reports = list(newest.values())
    return out


def _flat(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
