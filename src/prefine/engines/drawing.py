"""What components share that have texts written: how these are drawn, and the one engine that is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefine.engines.base import Sampling
from prefine.recipe import Recipe

if TYPE_CHECKING:
    from prefine.engines.session import Session


class Drawing:
    """How texts are drawn, checked in one place. `seed` None is the recipe's."""

    def __init__(
        self,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_tokens: int = 1024,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> None:
        if not temperature >= 0:
            raise ValueError(f"temperature must be 0 (greedy) or more, not {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
        if top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, not {top_k}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
        self.sampling, self.seed = Sampling(temperature, top_p, top_k, max_tokens, tuple(stop or ())), seed

    def seeded(self, recipe: Recipe) -> Sampling:
        """The sampling with its seed."""
        return replace(self.sampling, seed=recipe.seed if self.seed is None else self.seed)


class AsksEngine(Drawing):
    """Asks one engine, through a session that `prepare` opens."""

    def __init__(self, engine: dict, **drawing: Any) -> None:
        super().__init__(**drawing)
        self.block = engine
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        assert self._session is not None, "prepare() comes first"
        return self._session

    def close(self) -> None:
        """Close the engine and the ledger."""
        if self._session is not None:
            self._session.close()
            self._session = None
