"""What labelers that compare responses two at a time share: their settings and their judge."""

from __future__ import annotations

from typing import Any, Literal

from prefine.label.base import Labeler
from prefine.label.pairwise import Asking, PairJudge
from prefine.recipe import Recipe


class PairLabeler(Labeler):
    """A labeler with a judge of pairs."""

    def __init__(
        self,
        engine: dict,
        mode: Literal["text", "first_token"] = "text",
        combine: Literal["strict", "soft"] = "strict",
        swap: bool = True,
        reference: str | None = None,
        template: str | None = None,
        judge_samples: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int = 1024,
        min_mass: float = 0.5,
        max_reasks: int = 2,
        seed: int = 0,
        as_name: str | None = None,
    ) -> None:
        if not temperature >= 0:
            raise ValueError(f"temperature must be 0 (greedy) or more, not {temperature}")
        if judge_samples < 1:
            raise ValueError(f"judge_samples must be 1 or more, not {judge_samples}")
        if judge_samples > 1 and (temperature == 0 or mode == "first_token"):
            raise ValueError("judge_samples: these samples would all be the same; use mode text and a temperature")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {max_new_tokens}")
        if not 0 <= min_mass <= 1:
            raise ValueError(f"min_mass must be between 0 and 1, not {min_mass}")
        if max_reasks < 0:
            raise ValueError(f"max_reasks must be 0 or more, not {max_reasks}")
        self.name, self.seed = as_name or str(getattr(type(self), "component_name", "judge")), seed
        self.judge = PairJudge(
            Asking(
                engine=engine,
                mode=mode,
                template=template,
                combine=combine,
                swap=swap,
                reference=reference,
                judge_samples=judge_samples,
                temperature=temperature,
                max_new_tokens=max_new_tokens,
                min_mass=min_mass,
                max_reasks=max_reasks,
                seed=seed,
            )
        )
        self.asker = self.judge.asker

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        # One purpose for all of them: what one has asked, another need not ask again.
        return self.judge.open(recipe, "judge_pair")

    def close(self) -> None:
        self.asker.close()
