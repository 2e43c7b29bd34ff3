"""Reference log-probs: computed once for (start weights, token ids), stored, verified when read, shared by runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefine.durable import replacing, sweep
from prefine.errors import PrefineError
from prefine.models.logps import policy_logps
from prefine.models.policy import Policy

if TYPE_CHECKING:
    from prefine.data.chat import Encoded
    from prefine.progress import Progress

SAMPLE = 4
PART = 512


def response_keys(item: Encoded) -> list[str]:
    """One key per response: a digest of the prompt's ids, the response's ids and which of them count."""
    keys = []
    for tokens, mask in zip(item.responses, item.masks, strict=True):
        spelled = f"{item.prompt_ids}|{tokens}|{[int(m) for m in mask]}"
        keys.append(hashlib.sha256(spelled.encode()).hexdigest()[:32])
    return keys


class ReferenceStore:
    """Summed reference log-probs by response key, in Parquet parts below one folder per start model.

    The folder's name holds the digest of the start weights and of the compute type, so that another model, or the same
    model in another precision, never reads these numbers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, float] = {}
        for part in sorted(folder.glob("part-*.parquet")):
            table = pq.read_table(part)
            self.known.update(zip(table["key"].to_pylist(), table["logp"].to_pylist(), strict=True))

    def logps(
        self,
        policy: Policy,
        items: Sequence[Encoded],
        *,
        max_tokens: int,
        separate: bool,
        progress: Progress,
        write: bool = True,
    ) -> list[list[float]]:
        """Reference log-probs of every response of every item; what is missing is computed and stored on the way.

        `policy` must hold the start weights: an adapter is switched off for this.
        """
        with policy.as_reference():
            self._verify(policy, items, separate)
            missing = [item for item in items if any(k not in self.known for k in response_keys(item))]
            if missing:
                with progress.task("reference log-probs", total=len(missing), unit="prompts") as step:
                    for i in range(0, len(missing), PART):
                        part = missing[i : i + PART]
                        found = policy_logps(policy, part, max_tokens=max_tokens, separate=separate, step=step)
                        self._add(part, found, write)
        return [[self.known[k] for k in response_keys(item)] for item in items]

    def _verify(self, policy: Policy, items: Sequence[Encoded], separate: bool) -> None:
        stored = [item for item in items if all(k in self.known for k in response_keys(item))][:SAMPLE]
        if not stored:
            return
        again = policy_logps(policy, stored, max_tokens=1, separate=separate)
        slack = 5e-2 if policy.bf16 else 1e-3
        for item, found in zip(stored, again, strict=True):
            for key, (logp, _) in zip(response_keys(item), found, strict=True):
                if abs(logp - self.known[key]) > slack * max(1.0, abs(logp)):
                    raise PrefineError(
                        f"{self.folder}: a stored reference log-prob is {self.known[key]:.4f}, the model gives "
                        f"{logp:.4f}; "
                        "the store is not of this model. Delete the folder to compute it anew"
                    )

    def _add(self, items: Sequence[Encoded], found: list[list[Any]], write: bool) -> None:
        new: dict[str, float] = {}
        for item, values in zip(items, found, strict=True):
            new.update({k: v[0] for k, v in zip(response_keys(item), values, strict=True) if k not in self.known})
        self.known.update(new)
        if not write or not new:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        name = f"part-{len(list(self.folder.glob('part-*.parquet'))):05d}.parquet"
        table = pa.table({"key": list(new), "logp": pa.array(list(new.values()), pa.float64())})
        with replacing(self.folder / name) as tmp:
            pq.write_table(table, tmp, compression="zstd")
