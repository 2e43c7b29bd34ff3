"""What labelers that compare responses two at a time share: their settings and their judge."""

from __future__ import annotations

from typing import Any, Literal

from prefine.label.judging import Judging
from prefine.label.pairwise import Asking, PairJudge
from prefine.recipe import Recipe


class PairLabeler(Judging):
    """A labeler with a judge of pairs."""

    def __init__(
        self,
        engine: dict,
        mode: Literal["text", "first_token"] = "text",
        combine: Literal["strict", "soft"] = "strict",
        swap: bool = True,
        judge_samples: int = 1,
        **judging: Any,
    ) -> None:
        super().__init__(engine, judge_samples=judge_samples, **judging)
        if judge_samples > 1 and mode == "first_token":
            raise ValueError("judge_samples: mode 'first_token' reads probabilities, which need one call")
        self.judge = PairJudge(
            Asking(
                engine=engine,
                mode=mode,
                template=self.template,
                combine=combine,
                swap=swap,
                reference=self.reference,
                judge_samples=judge_samples,
                temperature=self.temperature,
                max_new_tokens=self.max_new_tokens,
                min_mass=self.min_mass,
                max_reasks=self.max_reasks,
                seed=self.seed,
            )
        )
        self.asker = self.judge.asker

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        # One purpose for all of them: what one has asked, another need not ask again.
        return self.judge.open(recipe, "judge_pair")

    def close(self) -> None:
        self.asker.close()
