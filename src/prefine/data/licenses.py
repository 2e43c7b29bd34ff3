"""Under which licenses the rows stand, and which of these forbid commercial use."""

from __future__ import annotations

import re
from collections import Counter

import pyarrow.parquet as pq

from prefine.errors import PrefineError
from prefine.rundir import StageDir

UNKNOWN = "unknown"
_NONCOMMERCIAL = re.compile(r"\bnc\b|non-?commercial", re.IGNORECASE)


def noncommercial(license: str) -> bool:
    """True for cc-by-nc and its kind."""
    return _NONCOMMERCIAL.search(license.replace("_", "-")) is not None


def licenses_of(folder: StageDir) -> Counter[str]:
    """How many groups of a folder stand under which license, by what their sources say."""
    found: Counter[str] = Counter()
    for part in folder.parts:
        for source in pq.read_table(part, columns=["source"])["source"].to_pylist():
            found[dict(source or {}).get("license") or UNKNOWN] += 1
    return found


def refuse_noncommercial(licenses: Counter[str], where: str, allowed: bool) -> None:
    """Raise when some rows may not be used commercially, unless that is `allowed`."""
    found = {name: n for name, n in licenses.items() if noncommercial(name)}
    if found and not allowed:
        listed = ", ".join(f"{n} prompts under {name}" for name, n in sorted(found.items()))
        raise PrefineError(
            f"{where}: {listed}; the license forbids commercial use. Give --allow-noncommercial if yours is none"
        )
