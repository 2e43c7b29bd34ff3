"""CLAIR: a response and its revision, which is the better one."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.formats.trl_preference import TRLPreference
from prefine.registry import formats
from prefine.schema import Group


@formats.register("clair")
class CLAIR(TRLPreference):
    """CLAIR: chosen is a revision of rejected, and remembers it as its `parent`; the reasons go with it.

    Columns: prompt, chosen, rejected (text or messages), rational (or rationale).
    Paper: CLAIR and APO, D'Oosterlinck et al. 2024 (arXiv:2408.06266)
    """

    rank = 198
    columns = (*TRLPreference.columns, "rational", "rationale")

    def matches(self, table: Columns) -> bool:
        return super().matches(table) and any(table.has(c, "text") for c in ("rational", "rationale"))

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = super().__call__(row, source)
        chosen, rejected = group.candidates
        chosen.parent = rejected.id
        chosen.generator["role"] = "revision"
        reasons = row.get("rational") or row.get("rationale")
        if isinstance(reasons, str) and reasons.strip():
            chosen.generator["rationale"] = reasons.strip()
        return group
