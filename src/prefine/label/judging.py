"""What labelers share that ask a judge for words: their settings, checked in one place."""

from __future__ import annotations

from prefine.label.base import Labeler


class Judging(Labeler):
    """A labeler with a judge who writes, and may be asked several times."""

    def __init__(
        self,
        engine: dict,
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
        if judge_samples > 1 and temperature == 0:
            raise ValueError("judge_samples: samples at temperature 0 are all the same; set temperature")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {max_new_tokens}")
        if not 0 <= min_mass <= 1:
            raise ValueError(f"min_mass must be between 0 and 1, not {min_mass}")
        if max_reasks < 0:
            raise ValueError(f"max_reasks must be 0 or more, not {max_reasks}")
        self.name, self.seed = as_name or str(getattr(type(self), "component_name", "judge")), seed
        self.engine, self.reference, self.template = engine, reference, template
        self.samples, self.temperature, self.max_new_tokens = judge_samples, temperature, max_new_tokens
        self.min_mass, self.max_reasks = min_mass, max_reasks
