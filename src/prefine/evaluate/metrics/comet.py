"""COMET and XCOMET as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prefine.errors import PrefineError, nearest
from prefine.evaluate.comet.environment import VERSION, command
from prefine.evaluate.comet.scoring import comet_scores
from prefine.evaluate.metrics.base import Asked, Metric
from prefine.evaluate.metrics.references import references_of, require
from prefine.progress import Step
from prefine.registry import metrics
from prefine.schema import Group, Score


@metrics.register("comet")
class Comet(Metric):
    """How good a translation is by a model trained on human ratings, about 0 to 1; the value of a corpus is the mean.

    Formula: the checkpoint's output for source, translation and reference, by unbabel-comet's comet-score in half
    precision; line breaks become spaces; of several references the first
    Paper: Rei et al. 2020 (arXiv:2009.09025); COMET-22: Rei et al. 2022 (ACL 2022.wmt-1.52)
    Defaults: checkpoint: a hub id or a .ckpt file; source and reference: entries of task_meta, reference: null for a
    checkpoint that needs none; gpus: null is one where there is one; environment: null is PREFINE_COMET_ENV or the
    user's cache
    Needs: sources and references; `prefine comet setup`, once
    """

    higher_is_better = True

    def __init__(
        self,
        checkpoint: str = "Unbabel/wmt22-comet-da",
        source: str = "source_text",
        reference: str | None = "reference",
        batch_size: int = 16,
        gpus: int | None = None,
        environment: str | None = None,
        as_name: str = "comet",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
        if gpus is not None and gpus < 0:
            raise ValueError(f"gpus must be 0 or more, not {gpus}")
        self.checkpoint, self.source, self.reference = checkpoint, source, reference
        self.batch_size, self.gpus, self.environment, self.name = batch_size, gpus, environment, as_name
        self._errors: Counter[str] = Counter()
        self._several = 0

    def check(self, groups: Sequence[Group]) -> None:
        command(self.environment)
        if groups and not any(g.task_meta.get(self.source) for g in groups):
            hint = nearest(self.source, {name for g in groups for name in g.task_meta})
            raise PrefineError(f"{self.name}: none of the {len(groups)} prompts has a source, '{self.source}'{hint}")
        if self.reference is not None:
            require(self.name, groups, self.reference)

    def scores(self, asked: Sequence[Asked], step: Step) -> list[Score]:
        out = [Score(self.name, None, status=self._lacks(group)) for group, _ in asked]
        todo = [i for i, score in enumerate(out) if score.status == "ok"]
        if todo:
            found = comet_scores(
                command(self.environment),
                self.checkpoint,
                [asked[i][0].task_meta[self.source] for i in todo],
                [asked[i][1] for i in todo],
                [self._first(asked[i][0]) for i in todo] if self.reference is not None else None,
                batch_size=self.batch_size,
                gpus=_gpus() if self.gpus is None else self.gpus,
            )
            for i, scored in zip(todo, found, strict=True):
                out[i].value = scored.value
                self._errors.update(str(span.get("severity")) for span in scored.errors)
        step(len(asked))
        return out

    def _lacks(self, group: Group) -> str:
        if not group.task_meta.get(self.source, "").strip():
            return "no_source"
        return "ok" if self.reference is None or references_of(group, self.reference) else "no_reference"

    def _first(self, group: Group) -> str:
        references = references_of(group, str(self.reference))
        self._several += len(references) > 1
        return references[0]

    def facts(self) -> dict[str, Any]:
        """The checkpoint and the tool; with XCOMET how many errors of which severity it saw in all responses."""
        signature = (
            f"{self.checkpoint}|unbabel-comet={VERSION}|ref={'yes' if self.reference is not None else 'no'}|fp16"
        )
        out: dict[str, Any] = {"signature": signature}
        if self._several:
            out["first_of_several_references"] = self._several
        return out | ({"errors": dict(sorted(self._errors.items()))} if self._errors else {})


@metrics.register("xcomet")
class XComet(Comet):
    """COMET that also marks errors, whose number by severity is kept; a large model.

    Formula: as comet, with the checkpoint's marks
    Paper: Guerreiro et al. 2024 (arXiv:2310.10482)
    Defaults: the smaller of the two published checkpoints, XL (3.5 billion weights); else as comet
    Needs: sources and references; `prefine comet setup`, once
    """

    def __init__(self, checkpoint: str = "Unbabel/XCOMET-XL", as_name: str = "xcomet", **settings: Any) -> None:
        super().__init__(checkpoint, as_name=as_name, **settings)


def _gpus() -> int:
    import torch

    return min(1, torch.cuda.device_count())
