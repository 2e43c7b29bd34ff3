"""Which prompts are held out: decided by a hash of the prompt, never by the order of rows.

Adding rows moves no prompt from one split to the other, and a larger test fraction only adds prompts to the test part.
"""

from __future__ import annotations

import hashlib
import unicodedata

from prefine.data.messages import first_user
from prefine.schema import Group


def split_key(group: Group) -> str:
    """What the split of a group depends on: its `task_meta["split_key"]`, or else its first user turn.

    Data sets hold one dialogue at several depths; the first turn keeps them on one side.
    """
    text = group.task_meta.get("split_key") or first_user(group.messages)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_of(group: Group, test_fraction: float, salt: str) -> str:
    """`train` or `test`."""
    return "test" if _unit(salt, split_key(group)) < test_fraction else "train"


def first_by_hash(groups: list[Group], limit: int, salt: str) -> list[Group]:
    """`limit` of the groups in their old order, chosen by a hash of the prompt: the first 10 are among the first 20."""
    # Another salt than that of the split, which would fill a small selection with test prompts only.
    kept = sorted(groups, key=lambda g: (_unit(f"{salt}/limit", g.id), g.id))[:limit]
    ids = {g.id for g in kept}
    return [g for g in groups if g.id in ids]


def _unit(salt: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    hashed = hashlib.sha256(f"{salt}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64
