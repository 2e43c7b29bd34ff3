"""What scoring a file of judgments takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FAILED = 0.02
"""Share of verdicts that may fail before a note says so (evaluation's rule for every judge)."""


@dataclass(frozen=True)
class Options:
    """How to score; what a benchmark does not know it ignores.

    c: strength of the length-controlled fit, None for cross-validation. data: folder with AlpacaEval's frozen files,
    None for those beside the judgments. index: what numbers an instruction. instructions: AlpacaEval's outputs, whose
    order numbers the instructions. regularize: tie the length-controlled fit to the baseline, as published. baseline:
    the model to compare with. answers: model answers with style metadata. human: votes of people. questions: MT-Bench's
    questions with their categories. resamples: None for the benchmark's own number.
    """

    c: float | None = None
    data: Path | None = None
    index: Literal["instruction", "row"] = "instruction"
    instructions: Path | None = None
    regularize: bool = True
    baseline: str | None = None
    answers: Path | None = None
    human: Path | None = None
    questions: Path | None = None
    resamples: int | None = None
    seed: int = 0


@dataclass
class Scored:
    """Scores of every model, with what a reader must know of them in `notes`.

    `models` holds one flat dict for each line of the table, `facts` what is true of all of them.
    """

    benchmark: str
    models: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"benchmark": self.benchmark, **self.facts, "models": self.models, "notes": self.notes}

    def failures(self, model: str, failed: int, total: int) -> None:
        """Note a model whose verdicts failed too often."""
        if total and failed / total > FAILED:
            self.notes.append(
                f"{model}: {failed} of {total} verdicts failed, more than {FAILED:.0%}: judge these again before "
                "reporting the score"
            )
