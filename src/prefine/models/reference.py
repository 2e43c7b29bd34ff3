"""Reference log-probs: computed once for (start weights, token ids), stored, verified when read, shared by runs."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from prefine.durable import replacing, sweep
from prefine.errors import PrefineError
from prefine.models.logps import policy_token_logps
from prefine.models.policy import Policy
from prefine.models.trees import Mode

if TYPE_CHECKING:
    from prefine.data.chat import Encoded
    from prefine.progress import Progress, Step

SAMPLE = 8
"""Items that are computed again when log-probs are read."""
PART = 512


def response_keys(item: Encoded) -> list[str]:
    """One key per response: a digest of the prompt's ids, the response's ids and which of them count."""
    keys = []
    for tokens, mask in zip(item.responses, item.masks, strict=True):
        spelled = f"{item.prompt_ids}|{tokens}|{[int(m) for m in mask]}"
        keys.append(hashlib.sha256(spelled.encode()).hexdigest()[:32])
    return keys


Values = tuple[np.ndarray, ...]
"""What is stored of a response: one array for each column."""


class ResponseStore:
    """Arrays by response key, in Parquet parts of one folder: computed once, written on the way, shared by runs.

    columns: the arrays of a response and their types, `{"token_logps": "float32"}`.
    """

    def __init__(self, folder: Path, columns: dict[str, str]) -> None:
        self.folder, self.columns = folder, columns
        self.known: dict[str, Values] = {}
        self._read()

    def _read(self) -> None:
        for part in sorted(self.folder.glob("part-*.parquet")):
            table = pq.read_table(part).combine_chunks()
            lists = [table[name].chunk(0) for name in self.columns]
            flat = [(c.values.to_numpy(), c.offsets.to_numpy()) for c in lists]
            for i, key in enumerate(table["key"].to_pylist()):
                self.known[key] = tuple(values[ends[i] : ends[i + 1]] for values, ends in flat)

    def get(
        self,
        items: Sequence[Encoded],
        compute: Callable[[Sequence[Encoded], Step], list[list[Values]]],
        *,
        title: str,
        progress: Progress,
    ) -> list[list[Values]]:
        """The arrays of every response of every item; what is missing is computed a part at a time and stored.

        Several processes share the work: each computes and writes its part, then all read what the others wrote, so
        the folder must be one that all of them see.
        """
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        # Whose an item is depends on the item alone: processes may start to read while others write.
        mine = [
            item
            for item in items
            if int(response_keys(item)[0], 16) % world == rank and any(k not in self.known for k in response_keys(item))
        ]
        if mine:
            with progress.task(title, total=len(mine), unit="prompts") as step:
                for i in range(0, len(mine), PART):
                    part = mine[i : i + PART]
                    self._add(part, compute(part, step), rank, world)
        if world > 1:
            wait_for_all()
            self._read()
        return [[self.known[k] for k in response_keys(item)] for item in items]

    def stored(self, items: Sequence[Encoded]) -> list[Encoded]:
        """Those of the items whose responses are all known."""
        return [item for item in items if all(k in self.known for k in response_keys(item))]

    def _add(self, items: Sequence[Encoded], found: list[list[Values]], rank: int, world: int) -> None:
        new: dict[str, Values] = {}
        for item, values in zip(items, found, strict=True):
            for key, arrays in zip(response_keys(item), values, strict=True):
                if key not in self.known:
                    new[key] = tuple(np.asarray(a, dtype=t) for a, t in zip(arrays, self.columns.values(), strict=True))
        self.known.update(new)
        if not new:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if world == 1:
            sweep(self.folder)
        count = len(list(self.folder.glob(f"part-*-{rank}.parquet")))
        name = f"part-{count:05d}-{rank}.parquet"
        table: dict[str, Any] = {"key": list(new)}
        for i, (column, kind) in enumerate(self.columns.items()):
            table[column] = pa.array([v[i] for v in new.values()], pa.list_(pa.from_numpy_dtype(np.dtype(kind))))
        with replacing(self.folder / name) as tmp:
            pq.write_table(pa.table(table), tmp, compression="zstd")


def wait_for_all() -> None:
    """Go on when every process has come here."""
    from accelerate.state import PartialState

    PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


class ReferenceStore:
    """Reference log-probs of every trained token.

    The folder's name holds the digest of the start weights and of the compute type, so that another model, or the same
    model in another precision, never reads these numbers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ResponseStore(folder, {"token_logps": "float32"})

    def token_logps(
        self,
        policy: Policy,
        items: Sequence[Encoded],
        *,
        max_tokens: int,
        mode: Mode,
        progress: Progress,
    ) -> list[list[np.ndarray]]:
        """Reference log-probs of every token of every response, in float32; what is missing is computed and stored on
        the way.

        `policy` must hold the start weights: an adapter is switched off for this.
        """

        def compute(part: Sequence[Encoded], step: Step) -> list[list[Values]]:
            found = policy_token_logps(policy, part, max_tokens=max_tokens, mode=mode, step=step)
            return [[(np.asarray(tokens),) for tokens in row] for row in found]

        with policy.as_reference():
            self._verify(policy, items, mode)
            rows = self.store.get(items, compute, title="reference log-probs", progress=progress)
        return [[tokens for (tokens,) in row] for row in rows]

    def _verify(self, policy: Policy, items: Sequence[Encoded], mode: Mode) -> None:
        """Some of what is stored, from the first to the last item, is computed again."""
        stored = self.store.stored(items)
        stored = stored[:: -(-len(stored) // SAMPLE) or 1]
        if not stored:
            return
        again = policy_token_logps(policy, stored, max_tokens=1, mode=mode)
        slack = 1e-3 if policy.exact else 5e-2
        for item, found in zip(stored, again, strict=True):
            for key, tokens in zip(response_keys(item), found, strict=True):
                logp, before = math.fsum(tokens), math.fsum(self.store.known[key][0])
                if abs(logp - before) > slack * max(1.0, abs(logp)):
                    raise PrefineError(
                        f"{self.folder}: a stored reference log-prob is {before:.4f}, the model gives {logp:.4f}; the "
                        "store is not of this model. Delete the folder to compute it anew"
                    )
