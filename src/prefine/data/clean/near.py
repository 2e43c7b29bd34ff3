"""Prompts that are nearly the same: one of each cluster stays."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np

from prefine.data.clean.base import Cleaner, Decided, Row, Rows, drop, keep, order
from prefine.data.clean.minhash import Clusters, Signer, cluster, collisions, hashes, similarity
from prefine.data.clean.rows import group_of, prompt_text, source_of, user_turns
from prefine.data.clean.text import shingles
from prefine.registry import cleaners

SHOWN_CLUSTERS, SHOWN_MEMBERS, SHOWN_CHARACTERS = 20, 10, 160


@cleaners.register("near_duplicates")
class NearDuplicates(Cleaner):
    """Of prompts that are nearly the same one stays: a held-out one, one of the first source, the smallest id.

    Collisions of MinHash bands are verified by the exact Jaccard index; what is near is joined into clusters.

    Formula: |A and B| / |A or B| >= threshold, over 5-grams of words; of characters for 5 to 7 words
    Paper: Broder 1997, "On the resemblance and containment of documents"; 128 permutations
    Defaults: threshold 0.8; prompts of fewer than 5 words are near only if they are equal
    Needs: datasketch (the extra `data`)
    """

    def __init__(
        self, threshold: float = 0.8, turns: Literal["all", "user"] = "all", priority: list[str] | None = None
    ) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.threshold, self.turns, self.priority = threshold, turns, priority or []
        self._stays: dict[str, tuple[str, float]] = {}
        self._sizes: Counter[int] = Counter()
        self._shown: dict[str, dict[str, Any]] = {}

    def prepare(self, models: Any) -> None:
        self._signer = Signer()

    def fit(self, rows: Rows) -> None:
        """Takes 512 bytes for a prompt, and 8 for each shingle of those that may have a near one."""
        rank, signatures = self._sign(rows)
        ids = list(rank)
        meets = np.zeros(len(ids), bool)
        for bucket in collisions(signatures, self.threshold):
            meets[bucket] = True
        sets = self._hashes(rows, {i: k for k, i in enumerate(ids) if meets[k]})
        clusters = cluster(
            collisions(signatures, self.threshold),
            len(ids),
            lambda i, j: similarity(sets[i], sets[j]) >= self.threshold,
        )
        self._remember(clusters, ids, rank, sets)

    def decide(self, row: Row) -> Decided:
        group = group_of(row)
        if group in self._shown:
            self._shown[group]["text"] = self._text(row)[:SHOWN_CHARACTERS]
        first, near = self._stays.get(group, (group, 1.0))
        if first == group:
            return keep(row)
        shown = next((m for m in self._shown.get(first, {}).get("members", []) if m["id"] == group), None)
        if shown is not None:
            shown["text"] = self._text(row)[:SHOWN_CHARACTERS]
        return drop("near_duplicate", duplicate_of=first, jaccard=near)

    def facts(self) -> dict[str, Any]:
        return {
            "clusters": sum(self._sizes.values()),
            "cluster_sizes": {str(size): n for size, n in sorted(self._sizes.items())},
            "examples": list(self._shown.values()),
        }

    def clusters(self) -> list[list[str]]:
        """The prompts of each cluster, the one that stays first."""
        found: dict[str, list[str]] = {}
        for i, (first, _) in self._stays.items():
            found.setdefault(first, [first]).append(i)
        return list(found.values())

    def _text(self, row: Row) -> str:
        return prompt_text(row) if self.turns == "all" else "\n".join(user_turns(row))

    def _sign(self, rows: Rows) -> tuple[dict[str, tuple[bool, int, str]], np.ndarray]:
        """The prompts with what decides which of a cluster stays, and their signatures in that order."""
        rank: dict[str, tuple[bool, int, str]] = {}
        parts: list[np.ndarray] = []
        buffer: list[np.ndarray] = []
        for row in rows.prompts():
            group = group_of(row)
            if group in rank:
                continue
            source = source_of(row)
            place = self.priority.index(source) if source in self.priority else len(self.priority)
            rank[group] = (row.split != "test", place, group)
            buffer.append(self._signer.sign(shingles(self._text(row))))
            if len(buffer) == 4096:
                parts.append(np.stack(buffer))
                buffer = []
        if buffer:
            parts.append(np.stack(buffer))
        return rank, np.concatenate(parts) if parts else np.zeros((0, 128), np.uint32)

    def _hashes(self, rows: Rows, wanted: dict[str, int]) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for row in rows.prompts() if wanted else ():
            k = wanted.get(group_of(row))
            if k is not None and k not in found:
                found[k] = hashes(shingles(self._text(row)))
        return found

    def _remember(
        self, clusters: Clusters, ids: list[str], rank: dict[str, tuple[bool, int, str]], sets: dict[int, np.ndarray]
    ) -> None:
        self._stays, self._sizes, self._shown = {}, Counter(), {}
        found: dict[str, list[tuple[str, float]]] = {}
        for members in clusters.sets():
            first = min(members, key=lambda k: rank[ids[k]])
            others = sorted((ids[k], round(similarity(sets[first], sets[k]), 4)) for k in members if k != first)
            found[ids[first]] = others
            self._sizes[len(members)] += 1
            self._stays.update({i: (ids[first], near) for i, near in others})
        for first in sorted(found, key=lambda i: order(0, "cluster", i))[:SHOWN_CLUSTERS]:
            members = [{"id": i, "jaccard": near, "text": ""} for i, near in found[first][:SHOWN_MEMBERS]]
            self._shown[first] = {"id": first, "text": "", "size": len(found[first]) + 1, "members": members}
