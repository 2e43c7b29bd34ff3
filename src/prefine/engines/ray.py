"""Many copies of an engine on a Ray cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefine.engines.base import Deliver, Engine, Outcome, Reply, Request, Sampling
from prefine.errors import PrefineError, missing_extra
from prefine.recipe import Recipe
from prefine.registry import engines

STORE = 256 << 20
"""Bytes of the object store of a cluster that is started here; requests and replies are small."""


@engines.register("ray")
class RayEngine(Engine):
    """Copies of another engine on the nodes of a Ray cluster, by Ray Data; the ledger here is what counts as done.

    Formula: requests in chunks -> batches -> the copy that is free; a batch of a lost node is asked of another
    Defaults: one copy; address: null is the cluster this process belongs to, or one that is started on this machine;
    batch_size: requests that a copy takes at once; num_gpus: of each copy
    Needs: engine, such as {name: hf, model: ...} or {name: vllm, model: ...}; the extra `ray`
    """

    def __init__(
        self,
        engine: dict,
        replicas: int = 1,
        address: str | None = None,
        batch_size: int = 64,
        chunk: int = 4096,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
    ) -> None:
        if replicas < 1:
            raise ValueError(f"replicas must be 1 or more, not {replicas}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
        if chunk < batch_size:
            raise ValueError(f"chunk must be at least batch_size ({batch_size}), not {chunk}")
        self.block, self.inner = engine, engines.build(engine)
        self.replicas, self.address, self.batch_size, self.chunk = replicas, address, batch_size, chunk
        self.num_cpus, self.num_gpus = num_cpus, num_gpus
        self._recipe = ""
        self._started = False

    @property
    def features(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.features

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        _ray()
        self._recipe = recipe.model_dump_json()
        return {**self.inner.prepare(recipe), "replicas": self.replicas}

    def identity(self) -> dict[str, str]:
        return self.inner.identity()

    def send(self, requests: Sequence[Request], deliver: Deliver) -> None:
        self._connect()
        for start in range(0, len(requests), self.chunk):
            self._send(start, requests[start : start + self.chunk], deliver)

    def _send(self, start: int, requests: Sequence[Request], deliver: Deliver) -> None:
        ray = _ray()
        rows = [{"place": start + i, "request": dump(r)} for i, r in enumerate(requests)]
        blocks = -(-len(rows) // self.batch_size)
        answered = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Copy,
            fn_constructor_args=(self.block, self._recipe),
            batch_size=self.batch_size,
            compute=ray.data.ActorPoolStrategy(size=min(self.replicas, blocks)),
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus or None,
        )
        try:
            for row in answered.iter_rows():
                deliver(int(row["place"]), Outcome(**json.loads(row["outcome"])))
        except ray.exceptions.RayTaskError as error:
            raise PrefineError(f"engine 'ray': {error.cause}") from error
        except ray.exceptions.RayError as error:
            raise PrefineError(
                f"engine 'ray': the cluster stopped answering ({type(error).__name__}); what it had answered is kept, "
                "and the same command goes on"
            ) from error

    def _connect(self) -> None:
        """Join the cluster, or start one here that ends with `close`."""
        ray = _ray()
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            own = {} if self.address else {"object_store_memory": STORE, "include_dashboard": False}
            ray.init(address=self.address, log_to_driver=False, logging_level="error", **own)
            self._started = True
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False

    def read(self, request: Request, raw: str) -> Reply:
        return self.inner.read(request, raw)

    def close(self) -> None:
        self.inner.close()
        if self._started:
            _ray().shutdown()
            self._started = False


class Copy:
    """An engine inside a worker. Batches: place (B,) int, request (B,) JSON -> place, outcome (B,) JSON."""

    def __init__(self, block: dict[str, Any], recipe: str) -> None:
        self.engine: Engine = engines.build(block)
        self.engine.prepare(Recipe.model_validate_json(recipe))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        requests = [load(text) for text in batch["request"]]
        found: list[Outcome | None] = [None] * len(requests)
        self.engine.send(requests, found.__setitem__)
        missing = Outcome("failed_retryable", error="no_outcome: the engine said nothing of this request")
        return {"place": batch["place"], "outcome": [json.dumps(asdict(o or missing)) for o in found]}


def dump(request: Request) -> str:
    """The request as JSON."""
    return json.dumps(asdict(request), ensure_ascii=False)


def load(text: str) -> Request:
    """The inverse of `dump`."""
    values = json.loads(text)
    sampling = {**values["sampling"], "stop": tuple(values["sampling"]["stop"])}
    return Request(**{**values, "messages": tuple(values["messages"]), "sampling": Sampling(**sampling)})


def _ray() -> Any:
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise missing_extra("engine 'ray'", "ray") from error
    return ray
